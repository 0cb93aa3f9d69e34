import fp from 'fastify-plugin'
import type { FastifyReply, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts an answer that no hook sees: what the parser or the router refuses. */
    countRefused: (status: number, code: string) => void
  }
  interface FastifyContextConfig {
    /** What is counted of this route, by method and status. */
    series?: Map<string, Series>
  }
}

type Series = { observe: (seconds: number) => void, inc: () => void }

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 12]
const CLIENT_LEFT = 499
const UNMATCHED = 'unmatched'
const FAILURES = ['500', '503']
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** Requests by the template of their route, never by their path: who asks for ten thousand of those adds no series. */
export default fp(async (app) => {
  const { metrics } = app
  const labelNames = ['method', 'route', 'status'] as const
  const durations = metrics.seriesHistogram({ name: 'http_request_duration_seconds', help: 'Time from the head of a request to the end of its answer', labelNames, buckets: BUCKETS })
  const requests = metrics.seriesCounter({ name: 'http_requests_total', help: 'Requests by their answer; 499: the client left before it', labelNames })
  const errors = metrics.counter({ name: 'http_errors_total', help: 'Problem documents by their code', labelNames: ['error_type'] })

  let connections = 0
  metrics.gauge({ name: 'http_active_connections', help: 'Open connections of clients', collect () { this.set(connections) } })
  app.server.on('connection', (socket) => {
    connections++
    socket.once('close', () => connections--)
  })

  const unmatched = new Map<string, Series>()
  app.addHook('onRoute', function prepare (route) {
    if (route.url !== '*') route.config = { ...route.config, series: new Map() }
    if (route.schema?.operationId) beginWithNone(String(route.method), route.url)
  })
  app.onEnd(count)
  app.decorate('countRefused', (status: number, code: string) => {
    seriesOf(unmatched, 'none', UNMATCHED, status).inc()
    errors.inc({ error_type: code })
  })

  /** Prometheus sees no rise in a series that begins with it, and a failure of the first minute is one to be told of. */
  function beginWithNone (method: string, route: string) {
    for (const status of FAILURES) requests.series({ method, route, status })
  }

  function count (request: FastifyRequest, reply: FastifyReply, hasLeft: boolean) {
    const { config, url } = request.route
    const status = hasLeft ? CLIENT_LEFT : reply.statusCode
    const method = METHODS.has(request.method) ? request.method : 'other'
    const series = config.series ? seriesOf(config.series, method, url!, status) : seriesOf(unmatched, method, UNMATCHED, status)
    series.inc()
    series.observe(reply.elapsedTime / 1000)
    if (request.problem) errors.inc({ error_type: request.problem })
  }

  function seriesOf (known: Map<string, Series>, method: string, route: string, status: number) {
    const key = method + status
    const found = known.get(key)
    if (found) return found
    const labels = { method, route, status: String(status) }
    const series = { observe: durations.series(labels), inc: requests.series(labels) }
    known.set(key, series)
    return series
  }
}, { name: 'http-metrics', dependencies: ['ending', 'errors', 'metrics', 'route'] })

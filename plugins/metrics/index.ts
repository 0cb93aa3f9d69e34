import { createRequire } from 'node:module'
import client, { Counter, Gauge, Histogram, Registry, type CounterConfiguration, type GaugeConfiguration, type HistogramConfiguration } from '@prometheus-io/client'
import fp from 'fastify-plugin'
import { asOpenMetrics } from './open-metrics.ts'
import { SeriesCounter, SeriesHistogram } from './series.ts'
import type { FastifyPluginAsync } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance { metrics: ReturnType<typeof createMetrics> }
}

// Its types claim `app.metrics` for itself, whatever name it is given.
const fastifyMetrics: FastifyPluginAsync<Record<string, unknown>> = createRequire(import.meta.url)('fastify-metrics').default
// Their names break Prometheus' own rules, as `promtool check metrics` says.
const MISNAMED = ['active_handles_total', 'active_requests_total', 'active_resources_total', 'eventloop_utilization_histogram', 'eventloop_utilization_summary']
// The event-loop utilisation among the MISNAMED is sampled by a timer that nothing clears: it must never fire.
const NEVER_MS = 2 ** 31 - 1

/** The metrics of one app. It knows none of them by name: whoever has something to tell makes one. */
function createMetrics (registry = new Registry()) {
  const registers = [registry]

  return {
    registry,

    counter: <Label extends string>(options: Omit<CounterConfiguration<Label>, 'registers'>) => new Counter({ ...options, registers }),
    gauge: <Label extends string>(options: Omit<GaugeConfiguration<Label>, 'registers'>) => new Gauge({ ...options, registers }),
    histogram: <Label extends string>(options: Omit<HistogramConfiguration<Label>, 'registers'>) => new Histogram({ ...options, registers }),
    /** For what happens in each request. */
    seriesCounter: (options: Omit<CounterConfiguration<string>, 'registers' | 'collect'>) => new SeriesCounter({ ...options, registers }),
    seriesHistogram: (options: Omit<HistogramConfiguration<string>, 'registers'> & { buckets: number[] }) => new SeriesHistogram({ ...options, registers }),

    /** All of them as text, each form with its media type. */
    async expose (form: 'plain' | 'open' = 'plain') {
      const text = await registry.metrics()
      return form === 'plain' ? { type: Registry.PROMETHEUS_CONTENT_TYPE, text } : { type: Registry.OPENMETRICS_CONTENT_TYPE, text: asOpenMetrics(text) }
    }
  }
}

export default fp(async (app) => {
  const metrics = createMetrics()
  app.decorate('metrics', metrics)
  // Its own measure of requests costs as much as a small request: `http-metrics` has ours.
  await app.register(fastifyMetrics, {
    name: 'fastifyMetrics',
    promClient: client,
    endpoint: null,
    routeMetrics: { enabled: false },
    defaultMetrics: { enabled: true, register: metrics.registry, eventLoopUtilizationTimeout: NEVER_MS }
  })
  for (const name of MISNAMED) metrics.registry.removeSingleMetric(`nodejs_${name}`)

  const startedAt = Date.now() / 1000 - process.uptime()
  metrics.gauge({ name: 'http_server_start_time_seconds', help: 'When the process started, in seconds since 1970' }).set(startedAt)
  metrics.gauge({ name: 'process_uptime_seconds', help: 'For how long the process has been running', collect () { this.set(process.uptime()) } })
}, { name: 'metrics' })

import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { SpanKind, SpanStatusCode, trace, type Attributes, type Span } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http'
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis'
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { defaultResource, envDetector, resourceFromAttributes, serviceInstanceIdDetector } from '@opentelemetry/resources'
import { NodeSDK } from '@opentelemetry/sdk-node'
import manifest from './package.json' with { type: 'json' }
import type { IncomingMessage } from 'node:http'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'
import type { Config } from './plugins/config/index.ts'

export type Tracing = ReturnType<typeof startTracing>

type Needs = {
  config: Pick<Config, 'NODE_ENV' | 'OTEL_EXPORTER_OTLP_ENDPOINT' | 'OTEL_SERVICE_NAME'>
  /** Told at most once a minute that spans are lost. */
  onLoss: () => void
}

const FLUSH_MS = 1000
const TELL_EVERY_MS = 60_000
const UNTRACED = /^\/(health|ready|metrics|docs(\/[^?]*)?)(\?|$)/
const TABLE = /\b(?:from|into|update|join) (\w+)\b(?!\()/

// What the SDK reads, where nobody has set it. Baggage would carry what a client wrote on to others.
const DEFAULTS = { OTEL_EXPORTER_OTLP_TIMEOUT: '3000', OTEL_PROPAGATORS: 'tracecontext' }

// Nothing that a client wrote, neither path nor Host, and no value of a statement: a route and a parametrised text stand for them.
const OF_REQUESTS = ['error.type', 'http.request.method', 'http.response.status_code', 'http.route', 'network.protocol.version', 'url.scheme']
const OF_CALLS = ['db.namespace', 'db.operation.name', 'db.query.summary', 'db.query.text', 'db.system.name', 'server.address', 'server.port']
const KEPT = new Set(OF_REQUESTS)
const KEPT_OF_CALLS = new Set([...OF_REQUESTS, ...OF_CALLS])
// The message of an error may quote its input; that of pg's instrumentation is made of type and code. The log line of the same trace says the rest.
const KEPT_OF_ERRORS = new Set(['exception.type'])
const KEPT_OF_PG_ERRORS = new Set(['exception.message'])

/** To be called before anything is loaded that it must see. Only what a request does is traced: work in the background has no parent, and no span. */
export function startTracing ({ config, onLoss }: Needs) {
  for (const [name, value] of Object.entries(DEFAULTS)) process.env[name] = process.env[name]?.trim() || value
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = config.OTEL_EXPORTER_OTLP_ENDPOINT
  const fastify = new FastifyOtelInstrumentation({ instrumentHooks: false })
  const sdk = new NodeSDK({
    serviceName: config.OTEL_SERVICE_NAME,
    resource: defaultResource().merge(resourceFromAttributes({ 'service.version': manifest.version, 'deployment.environment.name': config.NODE_ENV })),
    resourceDetectors: [envDetector, serviceInstanceIdDetector],
    traceExporter: discreet(new OTLPTraceExporter(), onLoss),
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [
      new HttpInstrumentation({ ignoreIncomingRequestHook: forgetState, disableOutgoingRequestInstrumentation: true }),
      fastify,
      new PgInstrumentation({ requireParentSpan: true, requestHook: (span, { query }) => nameQuery(span, query.text) }),
      new IORedisInstrumentation({ requireParentSpan: true, dbStatementSerializer: (command) => command }),
      new UndiciInstrumentation({ requireParentforSpans: true })
    ]
  })
  sdk.start()

  return {
    /** To be registered before all others. */
    plugin: fastify.plugin(),

    /** The ids of the span that this is done in. */
    currentSpan () {
      const span = trace.getActiveSpan()?.spanContext()
      return span && { trace_id: span.traceId, span_id: span.spanId }
    },

    /** Sends what is left, if the collector takes it soon. */
    async stop () {
      await Promise.race([sdk.shutdown().catch(() => {}), delay(FLUSH_MS)])
    }
  }
}

// It is asked whether to leave a request out before the context is read, whose state is what a client wrote: it would go to the collector, and on to who is called.
function forgetState ({ url, headers }: IncomingMessage) {
  delete headers.tracestate
  return UNTRACED.test(String(url))
}

/** An exporter that lets out what is known to hold no secret, and whose losses are told seldom. */
function discreet (exporter: SpanExporter, onLoss: () => void): SpanExporter {
  let quietUntil = 0

  return {
    shutdown: () => exporter.shutdown(),

    export (spans, done) {
      exporter.export(spans.map(withoutSecrets), (result) => {
        if (result.error) tell()
        done(result)
      })
    }
  }

  function tell () {
    if (performance.now() < quietUntil) return
    quietUntil = performance.now() + TELL_EVERY_MS
    onLoss()
  }
}

function withoutSecrets (span: ReadableSpan): ReadableSpan {
  const kept = span.kind === SpanKind.CLIENT ? KEPT_OF_CALLS : KEPT
  const keptOfErrors = span.instrumentationScope.name === '@opentelemetry/instrumentation-pg' ? KEPT_OF_PG_ERRORS : KEPT_OF_ERRORS
  return Object.create(span, {
    attributes: { value: only(kept, span.attributes) },
    status: { value: { code: isRefusal(span) ? SpanStatusCode.UNSET : span.status.code } },
    events: { value: span.events.map((event) => ({ ...event, attributes: only(keptOfErrors, event.attributes!) })) }
  })
}

const only = (kept: Set<string>, attributes: Attributes) => Object.fromEntries(Object.entries(attributes).filter(([name]) => kept.has(name)))

// To @fastify/otel all that is thrown is an error; what a client is refused is none of the service's.
function isRefusal ({ kind, attributes }: ReadableSpan) {
  return kind === SpanKind.INTERNAL && !(Number(attributes['http.response.status_code']) >= 500)
}

/** `SELECT users` instead of the hash that is the name of the statement, and of each one in a batch. */
function nameQuery (span: Span, text: string) {
  const summary = text.split('; ').map(summaryOf).join('; ')
  span.updateName(summary).setAttribute('db.query.summary', summary)
}

function summaryOf (statement: string) {
  const [operation] = statement.trim().split(/\s/, 1)
  return [operation!.toUpperCase(), TABLE.exec(statement)?.[1]].filter(Boolean).join(' ')
}

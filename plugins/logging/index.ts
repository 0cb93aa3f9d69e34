import { LogController, type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { SECRETS, withoutSecrets } from './redaction.ts'
import { RequestLog } from './request-log.ts'
import type { Ids, RequestLine } from './request-line.ts'
import type { IncomingMessage } from 'node:http'
import type { Config } from '../config/index.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whether its line is logged. */
    isLogged: boolean
  }
  interface FastifyContextConfig {
    /** Asked by machines at a steady pace, and answered from memory: it has no deadline, and a good answer is no line of the log, unless at level debug. It is served under pressure too, and is no part of the traffic on the status page. */
    isProbe?: boolean
  }
}

type TraceIds = Required<Pick<Ids, 'trace_id' | 'span_id'>>

const CLIENT_LEFT = 499   // as nginx has it; nobody is sent that
const TRACEPARENT = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(-|$)/

/** The caller's trace, if its traceparent is one (W3C Trace Context section 3.2): version 00 ends after the flags, later ones may go on. */
function traceIdOf ({ headers: { traceparent } }: IncomingMessage) {
  if (traceparent === undefined) return undefined
  const [, version, traceId, more] = TRACEPARENT.exec(String(traceparent)) ?? []
  return version === '00' && more ? undefined : traceId
}

/** One line a request, at its end. A 4xx is the client's business; only a 5xx is an error. */
class OneLine extends LogController {
  override incomingRequest () {}

  override requestCompleted (error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply) {
    request.isLogged = true
    const err = request.failure ?? error ?? undefined
    const reason = request.failure?.reason
    const log = request.log as RequestLog
    if (reason) log.line('warn', { ...lineOf(request, reply), reason }, 'request declined')
    else if (err) log.line('error', { ...lineOf(request, reply), err }, 'request failed')
    else if (!isCalm(request, reply)) log.answered(lineOf(request, reply))
    else if (log.isLevelEnabled('debug')) log.line('debug', lineOf(request, reply), 'request')
  }
}

// Every few seconds, and all alike: what is worth a line is a probe that is refused.
const isCalm = ({ route }: FastifyRequest, { statusCode }: FastifyReply) => route.config.isProbe && statusCode < 400

function lineOf (request: FastifyRequest, { statusCode, elapsedTime }: FastifyReply): RequestLine {
  return {
    method: request.method,
    route: request.route.url ?? null,
    statusCode,
    durationMs: Math.round(elapsedTime * 100) / 100,
    userId: request.user?.id
  }
}

/** What Fastify() needs to know of logging; `currentSpan` where there is tracing. */
export function loggerOptions (config: Config, isTerminal: boolean, currentSpan?: () => TraceIds | undefined) {
  return {
    logController: new OneLine({ requestIdLogLabel: 'requestId' }),
    logger: {
      level: config.LOG_LEVEL,
      redact: SECRETS,
      formatters: { log: withoutSecrets },
      serializers: { err: serializeError },
      ...(isTerminal ? { transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', singleLine: true } } } : {})
    },
    childLoggerFactory (this: FastifyInstance, log: FastifyBaseLogger, { requestId }: Record<string, unknown>, options: object, raw: IncomingMessage) {
      const ids = currentSpan?.() ?? { trace_id: traceIdOf(raw) }
      return new RequestLog(log, { requestId: String(requestId), correlationId: this.correlationIdOf(raw, String(requestId)), ...ids }, options)
    }
  }
}

type Loggable = Error & { code?: string, severity?: string, constraint?: string, table?: string, routine?: string, statusCode?: number }

type Logged = { type: string, message: string, stack: string, [key: string]: unknown }

/** An error without what quotes its input: PostgreSQL's message, detail and where may hold a row, that of JSON.parse a piece of the text. */
export function serializeError (error: unknown): Logged {
  if (!(error instanceof Error)) return { type: typeof error, message: 'not an error', stack: '' }
  const { name, code, cause, statusCode, severity, constraint, table, routine } = error as Loggable
  const rest = cause instanceof Error ? { cause: serializeError(cause) } : {}
  if (severity) return { type: name, message: 'refused by PostgreSQL', stack: '', code, constraint, table, routine, ...rest }
  if (error instanceof SyntaxError) return { type: name, message: 'a text could not be parsed', stack: '', code, ...rest }
  return { type: name, message: error.message, stack: error.stack ?? '', code, statusCode, ...rest }
}

export default fp(async (app) => {
  // An answer that nobody waits for is never completed.
  app.decorateRequest('isLogged', false)
  app.onEnd((request, reply) => {
    if (!request.isLogged) request.log.info({ ...lineOf(request, reply), statusCode: CLIENT_LEFT }, 'the client left')
  })
  app.addHook('onError', async function noticeFailure (request, reply, error) {
    if (reply.raw.destroyed && (error?.statusCode ?? 500) >= 500) request.log.error({ err: error }, 'failed after the request had ended')
  })
}, { name: 'logging', dependencies: ['ending', 'errors', 'ids', 'route'] })

import { LogController, type FastifyBaseLogger, type FastifyReply, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { v7 as uuidv7 } from 'uuid'
import type { IncomingMessage } from 'node:http'
import type { Config } from '../config/index.ts'

declare module 'fastify' {
  interface FastifyInstance {
    requestIdOf: (raw: IncomingMessage) => string
    correlationIdOf: (raw: IncomingMessage, requestId: string) => string
  }
  interface FastifyRequest {
    /** The caller's x-correlation-id, or the request's own id. */
    readonly correlationId: string
    /** Whether its line is logged. */
    isLogged: boolean
  }
}

type Ids = { trace_id: string, span_id: string }

const CLIENT_LEFT = 499   // as nginx has it; nobody is sent that
const ACCEPTED_ID = /^[A-Za-z0-9._-]{1,128}$/
const TRACEPARENT = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(-|$)/
const REDACTED = ['password', 'currentPassword', 'newPassword', 'refreshToken', 'accessToken', 'authorization', 'cookie', 'connectionString']

const requestIdOf = (raw: IncomingMessage) => accepted(raw.headers['x-request-id']) ?? uuidv7()
const correlationIdOf = (raw: IncomingMessage, requestId: string) => accepted(raw.headers['x-correlation-id']) ?? requestId
const accepted = (id: string | string[] | undefined) => typeof id === 'string' && ACCEPTED_ID.test(id) ? id : undefined

/** The caller's trace, if its traceparent is one (W3C Trace Context section 3.2): version 00 ends after the flags, later ones may go on. */
function traceIdOf ({ headers }: IncomingMessage) {
  const [, version, traceId, more] = TRACEPARENT.exec(String(headers.traceparent)) ?? []
  return version === '00' && more ? undefined : traceId
}

/** One line a request, at its end. A 4xx is the client's business; only a 5xx is an error. */
class OneLine extends LogController {
  override incomingRequest () {}

  override requestCompleted (error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply) {
    request.isLogged = true
    const err = request.failure ?? error ?? undefined
    const reason = request.failure?.reason
    if (reason) request.log.warn({ ...lineOf(request, reply), reason }, 'request declined')
    else if (err) request.log.error({ ...lineOf(request, reply), err }, 'request failed')
    else request.log.info(lineOf(request, reply), 'request')
  }
}

function lineOf (request: FastifyRequest, { statusCode, elapsedTime }: FastifyReply) {
  return {
    method: request.method,
    route: request.routeOptions.url ?? null,
    statusCode,
    durationMs: Math.round(elapsedTime * 100) / 100,
    userId: request.user?.id
  }
}

/** What Fastify() needs to know of logging; `currentSpan` where there is tracing. */
export function loggerOptions (config: Config, isTerminal: boolean, currentSpan?: () => Ids | undefined) {
  return {
    logController: new OneLine({ requestIdLogLabel: 'requestId' }),
    logger: {
      level: config.LOG_LEVEL,
      redact: REDACTED.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
      serializers: { err: serializeError },
      ...(isTerminal ? { transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname', singleLine: true } } } : {})
    },
    genReqId: requestIdOf,
    childLoggerFactory (log: FastifyBaseLogger, bindings: Record<string, unknown>, options: object, raw: IncomingMessage) {
      const ids = currentSpan?.() ?? { trace_id: traceIdOf(raw) }
      return log.child({ ...bindings, correlationId: correlationIdOf(raw, String(bindings.requestId)), ...ids }, options)
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
  app.decorate('requestIdOf', requestIdOf)
  app.decorate('correlationIdOf', correlationIdOf)
  app.decorateRequest('correlationId', {
    getter (this: FastifyRequest) { return correlationIdOf(this.raw, this.id) }
  })

  // An answer that nobody waits for is never completed.
  app.decorateRequest('isLogged', false)
  app.addHook('onRequest', function noticeLeaving (request, reply, done) {
    reply.raw.once('close', () => {
      if (!request.isLogged) request.log.info({ ...lineOf(request, reply), statusCode: CLIENT_LEFT }, 'the client left')
    })
    done()
  })
  app.addHook('onError', async function noticeFailure (request, reply, error) {
    if (reply.raw.destroyed && (error?.statusCode ?? 500) >= 500) request.log.error({ err: error }, 'failed after the request had ended')
  })
}, { name: 'logging' })

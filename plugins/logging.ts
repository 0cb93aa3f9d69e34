import { LogController, type FastifyBaseLogger, type FastifyReply, type FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { v7 as uuidv7 } from 'uuid'
import type { IncomingMessage } from 'node:http'
import type { Config } from './config/index.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The caller's x-correlation-id, or the request's own id. */
    readonly correlationId: string
  }
}

const ACCEPTED_ID = /^[A-Za-z0-9._-]{1,128}$/
const REDACTED = ['password', 'currentPassword', 'newPassword', 'refreshToken', 'accessToken', 'authorization', 'cookie', 'connectionString']

export const requestIdOf = (raw: IncomingMessage) => accepted(raw.headers['x-request-id']) ?? uuidv7()
const correlationIdOf = (raw: IncomingMessage, requestId: string) => accepted(raw.headers['x-correlation-id']) ?? requestId
const accepted = (id: string | string[] | undefined) => typeof id === 'string' && ACCEPTED_ID.test(id) ? id : undefined

/** One line a request, at its end. A 4xx is the client's business; only a 5xx is an error. */
class OneLine extends LogController {
  override incomingRequest () {}

  override requestCompleted (error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply) {
    const err = request.failure ?? error ?? undefined
    const line = {
      method: request.method,
      route: request.routeOptions.url ?? null,
      statusCode: reply.statusCode,
      durationMs: Math.round(reply.elapsedTime * 100) / 100,
      userId: request.user?.id,
      err
    }
    if (err) request.log.error(line, 'request failed')
    else request.log.info(line, 'request')
  }
}

/** What Fastify() needs to know of logging. */
export function loggerOptions (config: Config, isTerminal: boolean) {
  return {
    logController: new OneLine({ requestIdLogLabel: 'requestId' }),
    logger: {
      level: config.LOG_LEVEL,
      redact: REDACTED.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
      serializers: { err: serializeError },
      ...(isTerminal ? { transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname' } } } : {})
    },
    genReqId: requestIdOf,
    childLoggerFactory (log: FastifyBaseLogger, bindings: { requestId?: string }, options: object, raw: IncomingMessage) {
      return log.child({ ...bindings, correlationId: correlationIdOf(raw, bindings.requestId ?? '') }, options)
    }
  }
}

type Loggable = Error & { code?: string, severity?: string, constraint?: string, table?: string, routine?: string, statusCode?: number }

type Logged = { type: string, message: string, stack: string, [key: string]: unknown }

/** An error without what PostgreSQL says of values: its message, detail and where may quote a row. */
export function serializeError (error: Loggable): Logged {
  const { name, code, cause, statusCode } = error
  const rest = cause instanceof Error ? { cause: serializeError(cause) } : {}
  if (error.severity) return { type: name, message: 'refused by PostgreSQL', stack: '', code, constraint: error.constraint, table: error.table, routine: error.routine, ...rest }
  return { type: name, message: error.message, stack: error.stack ?? '', code, statusCode, ...rest }
}

export default fp(async (app) => {
  app.decorateRequest('correlationId', {
    getter (this: FastifyRequest) { return correlationIdOf(this.raw, this.id) }
  })
}, { name: 'logging' })

import createError from '@fastify/error'
import fp from 'fastify-plugin'
import { ACCEPT_PATCH, CODES, PROBLEMS, titleOf, type Code } from '../schemas/common.ts'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** What made this request end with a 5xx; for the log, never for the client. */
    failure: (Error & { reason?: string }) | null
    /** The code of the problem document that it was answered with. */
    problem: Code | null
  }
}

const problem = (code: Code, message: string = PROBLEMS[code][1]) => createError(code, message, PROBLEMS[code][0])

export const BadRequest = problem('BAD_REQUEST', '%s')
export const Validation = problem('VALIDATION_ERROR', 'The request does not fit its schema')
export const Unauthorized = problem('UNAUTHORIZED')
export const TokenExpired = problem('TOKEN_EXPIRED')
export const InvalidCredentials = problem('INVALID_CREDENTIALS')
export const InvalidRefreshToken = problem('INVALID_REFRESH_TOKEN')
export const Forbidden = problem('FORBIDDEN')
export const NotFound = problem('NOT_FOUND')
export const MethodNotAllowed = problem('METHOD_NOT_ALLOWED')
export const RequestTimeout = problem('REQUEST_TIMEOUT')
export const Conflict = problem('CONFLICT')
export const EmailTaken = problem('EMAIL_TAKEN')
export const PreconditionFailed = problem('PRECONDITION_FAILED')
export const PayloadTooLarge = problem('PAYLOAD_TOO_LARGE')
export const UnsupportedMediaType = problem('UNSUPPORTED_MEDIA_TYPE')
export const PasswordTooShort = problem('PASSWORD_TOO_SHORT', 'The password needs %d characters or more')
export const PasswordTooLong = problem('PASSWORD_TOO_LONG', 'The password may have %d characters at most')
export const PasswordCommon = problem('PASSWORD_COMMON', '%s')
export const PasswordUnchanged = problem('PASSWORD_UNCHANGED')
export const RateLimitExceeded = problem('RATE_LIMIT_EXCEEDED')
export const ServiceUnavailable = problem('SERVICE_UNAVAILABLE')
export const InternalServerError = problem('INTERNAL_SERVER_ERROR')

/** Why the work for a client that has left ends; sent to nobody. */
export const ClientLeft = createError('CLIENT_LEFT', 'The client has left', 499)

const codes = new Set<string>(CODES)

/** What is wrong with one place of the request, by JSON Pointer (RFC 6901); never the value. */
export type Fault = { pointer: string, code: string, message: string }

/** What an error of ours may carry beside its code: faults for the body, headers for the answer, a reason for the log. */
export type Refusal = FastifyError & { errors?: Fault[], headers?: Record<string, string>, reason?: string }

const RETRY_AFTER_SECONDS = 1
const MOST_FAULTS = 20
const REALM = 'Bearer realm="microts"'

export const refusal = (error: FastifyError, extra: Pick<Refusal, 'errors' | 'headers' | 'reason'>): Refusal => Object.assign(error, extra)

export const tooManyRequests = (retryAfterSeconds: number) =>
  refusal(new RateLimitExceeded(), { headers: { 'retry-after': String(retryAfterSeconds) } })

/** Infrastructure trouble: 503, whatever the cause was; clients would take a 401 for "log out". */
export const unavailable = (cause: unknown) => new ServiceUnavailable({ cause })

/** 503 for what is not even tried, since it is too much or known to be in vain: nothing has failed, and the log needs no stack. */
export function declined (reason: string, retryAfterSeconds = RETRY_AFTER_SECONDS) {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const error = new ServiceUnavailable()
  Error.stackTraceLimit = stackTraceLimit
  return refusal(error, { reason, headers: { 'retry-after': String(retryAfterSeconds) } })
}

type Origin = { id: string, correlationId: string, path?: string }

/** An RFC 9457 problem document: what `error` looks like from outside. */
export function problemOf (error: Refusal, { id, correlationId, path }: Origin) {
  const { statusCode: status = 500, code, message, errors, headers } = translate(error)
  return {
    status,
    headers: { ...standardHeaders(status, code), ...headers, 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
    body: { type: `urn:microts:problem:${code}`, title: titleOf(code), status, detail: message, instance: path, code, requestId: id, correlationId, errors }
  }
}

function standardHeaders (status: number, code: string): Record<string, string> {
  if (status === 503) return { 'retry-after': String(RETRY_AFTER_SECONDS) }
  if (status !== 401) return {}
  const isAboutToken = code === 'UNAUTHORIZED' || code === 'TOKEN_EXPIRED'
  return { 'www-authenticate': isAboutToken ? `${REALM}, error="invalid_token"` : REALM }
}

/** Fastify's and other people's errors in our terms. */
function translate (error: Refusal): Refusal {
  if (codes.has(error.code)) return error
  if (error.validation) return refusal(new Validation(), { errors: faultsOf(error) })
  switch (error.statusCode) {
    case 404: return new NotFound()
    case 408: return new RequestTimeout()
    case 413: return new PayloadTooLarge()
    case 415: return new UnsupportedMediaType()
  }
  if (error.statusCode && error.statusCode >= 400 && error.statusCode < 500) {
    return Object.assign(new BadRequest(sentences[error.code] ?? 'The request is not well-formed'), { statusCode: error.statusCode })
  }
  return new InternalServerError()
}

const sentences: Record<string, string> = {
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty',
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not JSON',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body is not as long as Content-Length says',
  FST_ERR_BAD_URL: 'The path is not well-formed',
  FST_ERR_MAX_PARAM_LENGTH: 'A part of the path is too long'
}

function faultsOf ({ validation = [], validationContext }: FastifyError): Fault[] {
  return validation.slice(0, MOST_FAULTS).map(({ instancePath, keyword, message = '', params }) => {
    const name = params.missingProperty ?? params.additionalProperty
    const pointer = name === undefined ? instancePath : `${instancePath}/${escapePointer(String(name))}`
    return { pointer: validationContext === 'body' ? pointer : `/${validationContext}${pointer}`, code: keyword, message }
  })
}

// A property name is the client's own text: bounded, and escaped as RFC 6901 section 3 wants it.
function escapePointer (name: string) {
  return name.slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')
}

export default fp(async (app) => {
  app.decorateRequest('failure', null)
  app.decorateRequest('problem', null)
  app.setErrorHandler<FastifyError>(answer)
  app.setNotFoundHandler(() => { throw new NotFound() })
}, { name: 'errors' })

/** Answers an error as a problem document. */
export function answer (thrown: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  // What the router refuses has met no hook and has no decorations; what the hash gate refuses has not met that of `security`.
  if (!reply.hasHeader('x-request-id')) reply.headers(request.server.commonHeaders(request.raw, request.id, reply.raw))
  // JavaScript lets anything be thrown.
  const error = thrown instanceof Error ? thrown : new InternalServerError({ cause: new Error(`${typeof thrown} thrown`) })
  const path = request.url.split('?', 1)[0]
  const { status, headers, body } = problemOf(error, { id: request.id, correlationId: String(reply.getHeader('x-correlation-id')), path })
  if (status === 415 && request.method === 'PATCH') reply.headers(ACCEPT_PATCH)      // RFC 5789 section 2.2
  if (status >= 500) request.failure = error
  request.problem = body.code as Code
  // To a string Fastify would add a charset, which the media type does not have (RFC 9457 section 6.1).
  return reply.code(status).headers(headers).send(Buffer.from(JSON.stringify(body)))
}

import createError from '@fastify/error'
import fp from 'fastify-plugin'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** What made this request end with a 5xx; for the log, never for the client. */
    failure: Error | null
  }
}

export const BadRequest = createError('BAD_REQUEST', '%s', 400)
export const Validation = createError('VALIDATION_ERROR', 'The request does not fit its schema', 400)
export const Unauthorized = createError('UNAUTHORIZED', 'A valid access token is needed', 401)
export const TokenExpired = createError('TOKEN_EXPIRED', 'The access token has expired: refresh it', 401)
export const InvalidCredentials = createError('INVALID_CREDENTIALS', 'E-mail or password is wrong', 401)
export const InvalidRefreshToken = createError('INVALID_REFRESH_TOKEN', 'The refresh token is not valid: log in again', 401)
export const Forbidden = createError('FORBIDDEN', 'This is not allowed', 403)
export const NotFound = createError('NOT_FOUND', 'There is nothing here', 404)
export const MethodNotAllowed = createError('METHOD_NOT_ALLOWED', 'This resource has other methods: see Allow', 405)
export const RequestTimeout = createError('REQUEST_TIMEOUT', 'The request did not arrive in time', 408)
export const Conflict = createError('CONFLICT', 'The request conflicts with the present state', 409)
export const EmailTaken = createError('EMAIL_TAKEN', 'This e-mail address has an account', 409)
export const PreconditionFailed = createError('PRECONDITION_FAILED', 'The resource has changed since it was read', 412)
export const PayloadTooLarge = createError('PAYLOAD_TOO_LARGE', 'The body is larger than 10 kB', 413)
export const UnsupportedMediaType = createError('UNSUPPORTED_MEDIA_TYPE', 'The body must be JSON in UTF-8, not encoded', 415)
export const PasswordTooShort = createError('PASSWORD_TOO_SHORT', 'The password needs %d characters or more', 400)
export const PasswordTooLong = createError('PASSWORD_TOO_LONG', 'The password may have %d characters at most', 400)
export const PasswordCommon = createError('PASSWORD_COMMON', '%s', 400)
export const PasswordUnchanged = createError('PASSWORD_UNCHANGED', 'The new password must differ from the current one', 400)
export const RateLimitExceeded = createError('RATE_LIMIT_EXCEEDED', 'Too many requests: try again later', 429)
export const ServiceUnavailable = createError('SERVICE_UNAVAILABLE', 'The service cannot answer at the moment: try again', 503)
export const InternalServerError = createError('INTERNAL_SERVER_ERROR', 'Something went wrong on our side', 500)

/** Every code a client may see; the code is the contract. */
export const CODES = [
  BadRequest, Validation, Unauthorized, TokenExpired, InvalidCredentials, InvalidRefreshToken, Forbidden, NotFound, MethodNotAllowed,
  RequestTimeout, Conflict, EmailTaken, PreconditionFailed, PayloadTooLarge, UnsupportedMediaType, PasswordTooShort, PasswordTooLong,
  PasswordCommon, PasswordUnchanged, RateLimitExceeded, ServiceUnavailable, InternalServerError
].map((Refusal) => new Refusal('').code)
const codes = new Set<string>(CODES)

/** What is wrong with one place of the request, by JSON Pointer (RFC 6901); never the value. */
export type Fault = { pointer: string, code: string, message: string }

/** What an error of ours may carry beside its code: faults for the body, headers for the answer. */
export type Refusal = FastifyError & { errors?: Fault[], headers?: Record<string, string> }

const RETRY_AFTER_SECONDS = 1
const REALM = 'Bearer realm="microts"'

export const refusal = (error: FastifyError, extra: Pick<Refusal, 'errors' | 'headers'>): Refusal => Object.assign(error, extra)

export const tooManyRequests = (retryAfterSeconds: number) =>
  refusal(new RateLimitExceeded(), { headers: { 'retry-after': String(retryAfterSeconds) } })

/** Infrastructure trouble: 503, whatever the cause was; clients would take a 401 for "log out". */
export const unavailable = (cause: unknown) => new ServiceUnavailable({ cause })

type Origin = { id: string, correlationId: string, path?: string }

/** An RFC 9457 problem document: what `error` looks like from outside. */
export function problemOf (error: Refusal, { id, correlationId, path }: Origin) {
  const { statusCode: status = 500, code, message, errors, headers } = translate(error)
  const title = code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ')
  return {
    status,
    headers: { ...standardHeaders(status, code), ...headers, 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
    body: { type: `urn:microts:problem:${code}`, title, status, detail: message, instance: path, code, requestId: id, correlationId, errors }
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
  return validation.map(({ instancePath, keyword, message = '', params }) => {
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
  app.setErrorHandler<FastifyError>(answer)
  app.setNotFoundHandler(() => { throw new NotFound() })
}, { name: 'errors', dependencies: ['logging'] })

/** Answers an error as a problem document. */
export function answer (error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  const path = request.url.split('?', 1)[0]
  const { status, headers, body } = problemOf(error, { id: request.id, correlationId: request.correlationId, path })
  if (status >= 500) request.failure = error
  return reply.code(status).headers(headers).send(JSON.stringify(body))
}

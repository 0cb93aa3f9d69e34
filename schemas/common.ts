import { Type, type TSchema, type StringOptions } from '@sinclair/typebox'

/** A string PostgreSQL can store: without NUL and lone surrogates. */
export const Text = (options: StringOptions) => Type.String({ 'x-well-formed': true, ...options })

/** A string or null, as one type, which generators take better than a union. */
export const Nullable = (options: StringOptions) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], 'x-well-formed': true, ...options })

export const Enum = <Value extends string>(values: readonly Value[], options: object = {}) =>
  Type.Unsafe<Value>({ type: 'string', enum: values, ...options })

export const IdSchema = Type.String({ format: 'uuid', description: 'UUID v7', examples: ['01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'] })
export const TimeSchema = Type.String({ format: 'date-time', description: 'RFC 3339, UTC', examples: ['2026-11-22T12:00:00.000Z'] })

/** The document, since every 4xx and 5xx has the same form (RFC 9457). */
export const ProblemSchema = Type.Object({
  type: Type.String({ description: 'A URI that names the kind of problem' }),
  title: Type.String(),
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  detail: Type.Optional(Type.String()),
  instance: Type.Optional(Type.String({ description: 'The path that was asked for' })),
  code: Type.String({ description: 'What programs decide by; part of the contract' }),
  requestId: Type.String(),
  correlationId: Type.Optional(Type.String()),
  errors: Type.Optional(Type.Array(Type.Object({
    pointer: Type.String({ description: 'JSON Pointer into the body' }),
    code: Type.String(),
    message: Type.String()
  })))
}, { $id: 'Problem', description: 'RFC 9457 problem document' })

const reasons = {
  400: ['BAD_REQUEST', 'The request is malformed or does not fit its schema'],
  401: ['UNAUTHORIZED', 'Not, or no longer, allowed in'],
  404: ['NOT_FOUND', 'There is no such thing'],
  408: ['REQUEST_TIMEOUT', 'The request did not arrive in time'],
  409: ['EMAIL_TAKEN', 'The e-mail address has an account'],
  412: ['PRECONDITION_FAILED', 'If-Match names a version that is gone'],
  413: ['PAYLOAD_TOO_LARGE', 'The body is larger than 10 kB'],
  414: ['BAD_REQUEST', 'A part of the path is too long'],
  415: ['UNSUPPORTED_MEDIA_TYPE', 'The body is of another type, charset or encoding'],
  417: ['BAD_REQUEST', 'No expectation but 100-continue is met'],
  429: ['RATE_LIMIT_EXCEEDED', 'Too many requests; Retry-After says how long to wait'],
  431: ['BAD_REQUEST', 'The head of the request is larger than 16 kB'],
  500: ['INTERNAL_SERVER_ERROR', 'Something went wrong on our side'],
  503: ['SERVICE_UNAVAILABLE', 'Not at the moment; Retry-After says how long to wait']
} as const
type Status = keyof typeof reasons

/** What any route may answer beside its own. */
const ALWAYS: Status[] = [400, 408, 414, 417, 429, 431, 500, 503]
const WITH_BODY: Status[] = [413, 415]

/** The responses of a route: its own answers, its own failures by status, and those that any route has. */
export const answers = <Own extends Record<number, TSchema>>(own: Own, ...failures: Status[]): Own => ({
  ...Object.fromEntries([...ALWAYS, ...WITH_BODY, ...failures].map((status) => [status, failure(status)])),
  ...own
})

function failure (status: Status) {
  const [code, description] = reasons[status]
  const title = code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ')
  const example = { type: `urn:microts:problem:${code}`, title, status, detail: description, instance: '/auth/login', code, requestId: '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', correlationId: '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11' }
  return { description, content: { 'application/problem+json': { schema: { $ref: 'Problem#' }, example } } }
}

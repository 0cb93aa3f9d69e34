import { Type, type TSchema, type StringOptions } from '@sinclair/typebox'

/** A string PostgreSQL can store: without NUL and lone surrogates. */
export const Text = (options: StringOptions) => Type.String({ 'x-well-formed': true, ...options })

/** A string or null, as one type, which generators take better than a union. */
export const Nullable = (options: StringOptions) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], 'x-well-formed': true, ...options })

export const Enum = <const Value extends string>(values: readonly Value[], options: object = {}) =>
  Type.Unsafe<Value>({ type: 'string', enum: values, ...options })

// By its format alone a UUID may begin with urn:uuid:, which PostgreSQL does not read.
export const IdSchema = Type.String({ format: 'uuid', maxLength: 36, description: 'UUID v7', examples: ['01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'] })
export const TimeSchema = Type.String({ format: 'date-time', description: 'RFC 3339, UTC', examples: ['2026-11-22T12:00:00.000Z'] })

/** What programs decide by, with its status and what it means: the contract. */
export const PROBLEMS = {
  BAD_REQUEST: [400, 'The request is malformed'],
  VALIDATION_ERROR: [400, 'The request does not fit its schema; `errors` says where'],
  PASSWORD_TOO_SHORT: [400, 'The password needs more characters'],
  PASSWORD_TOO_LONG: [400, 'The password has too many characters'],
  PASSWORD_COMMON: [400, 'The password is among the most common ones, or holds the e-mail name or that of the service'],
  PASSWORD_UNCHANGED: [400, 'The new password is the current one'],
  UNAUTHORIZED: [401, 'A valid token is needed'],
  TOKEN_EXPIRED: [401, 'The access token has expired: refresh it'],
  INVALID_CREDENTIALS: [401, 'E-mail or password is wrong'],
  INVALID_REFRESH_TOKEN: [401, 'The refresh token is not valid: log in again'],
  FORBIDDEN: [403, 'This is not allowed'],
  NOT_FOUND: [404, 'There is no such thing'],
  METHOD_NOT_ALLOWED: [405, 'The resource has other methods: see Allow'],
  REQUEST_TIMEOUT: [408, 'The request did not arrive in time'],
  CONFLICT: [409, 'The request conflicts with the present state'],
  EMAIL_TAKEN: [409, 'The e-mail address has an account'],
  PRECONDITION_FAILED: [412, 'If-Match or If-None-Match does not hold'],
  PAYLOAD_TOO_LARGE: [413, 'The body is larger than 10 kB, or than 1 MiB of alerts'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'The body is of another type, charset or encoding'],
  RATE_LIMIT_EXCEEDED: [429, 'Too many requests: Retry-After says how long to wait'],
  INTERNAL_SERVER_ERROR: [500, 'Something went wrong on our side'],
  SERVICE_UNAVAILABLE: [503, 'Not at the moment: Retry-After says how long to wait']
} as const
export type Code = keyof typeof PROBLEMS
export const CODES = Object.keys(PROBLEMS) as Code[]

/** Every 4xx and 5xx but the 503 of `/ready` has this form (RFC 9457). */
export const ProblemSchema = Type.Object({
  type: Type.String({ description: 'A URI that names the kind of problem' }),
  title: Type.String(),
  status: Type.Integer({ minimum: 400, maximum: 599 }),
  detail: Type.Optional(Type.String()),
  instance: Type.Optional(Type.String({ description: 'The path that was asked for' })),
  code: Enum(CODES, { description: 'What programs decide by; part of the contract' }),
  requestId: Type.String(),
  correlationId: Type.Optional(Type.String()),
  errors: Type.Optional(Type.Array(Type.Object({
    pointer: Type.String({ description: 'JSON Pointer into the body, or after its name into querystring, params or headers' }),
    code: Type.String({ description: 'The keyword of JSON Schema that does not hold; `x-well-formed`: a NUL, or half a surrogate pair; `email`: no address; or the `code` of the problem' }),
    message: Type.String({ description: 'In English, for people' })
  })))
}, { $id: 'Problem', description: 'RFC 9457 problem document' })

/** What any route may answer beside its own. */
const ALWAYS: Code[] = [
  'BAD_REQUEST', 'VALIDATION_ERROR', 'REQUEST_TIMEOUT', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE',
  'RATE_LIMIT_EXCEEDED', 'INTERNAL_SERVER_ERROR', 'SERVICE_UNAVAILABLE'
]
const BELOW_ROUTING = { 414: 'A part of the path is too long', 417: 'No expectation but 100-continue is met', 431: 'The head of the request is larger than 16 kB' }
export const NEW_PASSWORD: Code[] = ['PASSWORD_TOO_SHORT', 'PASSWORD_TOO_LONG', 'PASSWORD_COMMON']
export const GUARDED: Code[] = ['UNAUTHORIZED', 'TOKEN_EXPIRED']

export const header = (description: string) => ({ type: 'string', description })
export const ETAG = { ETag: header('The version') }
export const RETRY = { 'Retry-After': header('Seconds') }
const HEADERS: Partial<Record<number, object>> = {
  401: { 'WWW-Authenticate': header('Bearer') },
  429: { ...RETRY, RateLimit: header('`"user";r=299;t=60`: the limit that is nearest to its end, how many are left, and seconds until the next one frees (draft-ietf-httpapi-ratelimit-headers-10). Whatever counted for a limit says so'), 'RateLimit-Policy': header('`"user";q=300;w=60`: that limit, and in how many seconds') },
  503: RETRY
}

const ENTITY_TAGS = { maxLength: 1000 }

export const ConditionHeadersSchema = Type.Object({
  'if-match': Type.Optional(Type.String({ ...ENTITY_TAGS, description: 'This version only, else 412' })),
  'if-none-match': Type.Optional(Type.String({ ...ENTITY_TAGS, description: 'Any but this version: else 304 to a GET, 412 to a change' }))
})

/** What a resource with PATCH takes (RFC 5789 section 3.1). */
export const ACCEPT_PATCH = { 'accept-patch': 'application/json' }

/** An answer in JSON, or in each of the media types it has. */
type Answer = TSchema | { description: string, content: Record<string, { schema: TSchema }> }

/** The responses of a route: its own answers, the codes of its own failures, and those that any route has. */
export function answers<Own extends Record<number, Answer>> (own: Own, ...failures: Code[]): Own {
  const responses: Record<number, object> = {}
  for (const [status, description] of Object.entries(BELOW_ROUTING)) responses[Number(status)] = failure(Number(status), description, ['BAD_REQUEST'])
  const byStatus = Map.groupBy([...ALWAYS, ...failures], (code) => PROBLEMS[code][0])
  for (const [status, codes] of byStatus) responses[status] = failure(status, codes.map((code) => PROBLEMS[code][1]).join(' · '), codes)
  return { ...responses, ...own }
}

function failure (status: number, description: string, codes: Code[]) {
  const examples = Object.fromEntries(codes.map((code) => [code, { value: example(status, code) }]))
  return { description, headers: HEADERS[status], content: { 'application/problem+json': { schema: { $ref: 'Problem#' }, examples } } }
}

const EXAMPLE_ID = '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'
const example = (status: number, code: Code) => ({
  type: `urn:microts:problem:${code}`, title: titleOf(code), status, detail: PROBLEMS[code][1], code, requestId: EXAMPLE_ID, correlationId: EXAMPLE_ID
})

/** `EMAIL_TAKEN` → `Email taken`. */
export const titleOf = (code: string) => code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ')

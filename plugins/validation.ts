import { Ajv } from 'ajv'
import formats from 'ajv-formats'
import fp from 'fastify-plugin'
import secureJson from 'secure-json-parse'
import { BadRequest, refusal, UnsupportedMediaType } from './errors.ts'
import type { FastifyInstance, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** Lets the routes of this scope take application/x-www-form-urlencoded beside JSON. */
    acceptForms: () => void
  }
}

const [strict, coercing] = [createAjv(false), createAjv(true)]
const NO_QUERY = { type: 'object', properties: {}, additionalProperties: false }
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
// More than any form of ours has: to decode thousands, and to tell of each that it is unknown, would take as long as a hash.
const MOST_FIELDS = 20
const CHARSET = /;\s*charset\*?\s*=\s*"?([^";\s]*)/gi

/** Bodies are taken as they are; only what comes from the URL, which is always text, is coerced. */
export default fp(async (app) => {
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? strict : coercing).compile(schema as object))

  // A documented route takes the query it declares and nothing else.
  app.addHook('onRoute', function closeQuery ({ schema }) {
    if (schema?.operationId) schema.querystring ??= NO_QUERY
  })

  // To say of nothing what type it is, as clients do that send an empty string, is no reason to refuse it.
  app.addHook('onRoute', function takeNothing (route) {
    if (!route.schema?.body) route.onRequest = [forgetTypeOfNothing, ...[route.onRequest ?? []].flat()]
  })

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, decoded(parseJson))
  app.decorate('acceptForms', function (this: FastifyInstance) {
    this.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'buffer' }, decoded(parseForm))
    this.addHook('onRoute', function declareForms (route) {
      route.schema = { ...route.schema, consumes: ['application/json', 'application/x-www-form-urlencoded'] }
    })
  })
}, { name: 'validation', dependencies: ['http', 'route'] })

function forgetTypeOfNothing ({ headers }: FastifyRequest, _: unknown, done: () => void) {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers
  if (length === '0' && coding === undefined) headers['content-type'] = undefined
  done()
}

function createAjv (coerceTypes: boolean) {
  // Whether the schemas are such is for the tests to see: to compile what says so takes a tenth of a start. V8 optimises what Ajv need not.
  const ajv = new Ajv({ validateSchema: false, code: { optimize: false }, coerceTypes, allErrors: true, useDefaults: true, allowUnionTypes: true })
  formats.default(ajv)
  // PostgreSQL stores no NUL, and UTF-8 maps every lone surrogate to U+FFFD, so that different passwords would become one.
  ajv.addKeyword({
    keyword: 'x-well-formed',
    type: 'string',
    validate: (_: boolean, text: string) => text.isWellFormed() && !text.includes('\0'),
    error: { message: 'must hold no NUL and no lone surrogate' }
  })
  return ajv
}

/** A parser of what is neither compressed nor in another charset. */
function decoded (parse: (request: FastifyRequest, body: Buffer) => Promise<unknown>) {
  return async (request: FastifyRequest, body: Buffer) => {
    const { 'content-encoding': encoding, 'content-type': type = '' } = request.headers
    if (encoding !== undefined) throw refusal(new UnsupportedMediaType(), { headers: { 'accept-encoding': 'identity' } })
    if (type.includes(';') && !isUtf8(type)) throw new UnsupportedMediaType()
    return parse(request, body)
  }
}

const isUtf8 = (type: string) => Array.from(type.matchAll(CHARSET), ([, charset = '']) => charset.toLowerCase()).every((charset) => charset === 'utf-8')

async function parseJson ({ route }: FastifyRequest, body: Buffer): Promise<unknown> {
  if (body.length === 0 && !route.schema?.body) return undefined
  try {
    return secureJson.parse(utf8.decode(body), null, { protoAction: 'error', constructorAction: 'error' })
  } catch (error) {
    throw new BadRequest(body.length === 0 ? 'The body is empty' : 'The body is not JSON in UTF-8, or holds a reserved name', { cause: error })
  }
}

// URLSearchParams, and @fastify/formbody with it, would repair bad UTF-8 and bad escapes and fold fields that are given twice.
async function parseForm (_: FastifyRequest, body: Buffer): Promise<unknown> {
  const form = new Map<string, string>()
  const fields = body.toString('latin1').split('&').filter(Boolean)
  if (fields.length > MOST_FIELDS) throw new BadRequest('The form has too many fields')
  for (const field of fields) {
    const [name = '', value = ''] = field.replaceAll('+', ' ').split(/=(.*)/s, 2).map(decodeField)
    if (form.has(name) || name === '__proto__') throw new BadRequest('A field is given twice or has a reserved name')
    form.set(name, value)
  }
  return Object.fromEntries(form)
}

function decodeField (text: string) {
  if (/%(?![0-9a-f]{2})/i.test(text)) throw new BadRequest('The form holds a % that is no escape')
  try {
    return utf8.decode(Buffer.from(text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))), 'latin1'))
  } catch (error) {
    throw new BadRequest('The form is not in UTF-8', { cause: error })
  }
}

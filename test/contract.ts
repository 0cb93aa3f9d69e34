import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'

export type Json = { [key: string]: any }
export type Exchange = { method: string, path: string, status: number, headers: Record<string, unknown>, body: string }

const PROBLEM = 'application/problem+json'

/** A part of an OpenAPI document, or what it refers to. */
export function resolve (document: Json, part: Json): Json {
  return part.$ref === undefined ? part : at(document, part.$ref.slice(1))
}

/** What is at a JSON Pointer (RFC 6901). */
export function at (document: Json, pointer: string): any {
  return pointer.split('/').slice(1).reduce((part: Json | undefined, key) => part?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document)
}

/** The OpenAPI document as a judge of answers. */
export function contractOf (document: Json) {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  formats.default(ajv)
  ajv.addSchema({ ...closed(document), $id: 'document' })
  const validators = new Map<string, ValidateFunction>()

  return { operationOf, violation, fault }

  /** The operation behind a path of the document or of Fastify; a HEAD is a GET. What a test adds has no name. */
  function operationOf (method: string, path: string): Json | undefined {
    const template = path.replace(/:(\w+)/g, '{$1}')
    const verb = method === 'HEAD' ? 'get' : method.toLowerCase()
    const operation = document.paths[template]?.[verb]
    return operation?.operationId && operation
  }

  /** What of an answer is not as documented; undefined if all is. `path` is that of the route. */
  function violation ({ method, path, status, headers, body }: Exchange): string | undefined {
    const operation = operationOf(method, path)
    const found = operation ? documented(operation) : status >= 400 ? undocumented() : undefined
    return found && `${method} ${path} ${status}: ${found} ${body.slice(0, 500)}`

    function documented ({ responses }: Json) {
      if (!responses[status]) return 'the status is not documented'
      const response = resolve(document, responses[status])
      const missing = Object.keys(response.headers ?? {}).find((name) => headers[name.toLowerCase()] === undefined)
      if (missing) return `the header ${missing} is missing`
      if (!response.content) return body === '' ? undefined : 'there should be no body'
      const type = typeOf(headers)
      if (!response.content[type]) return `the type ${type} is not documented`
      return method === 'HEAD' ? undefined : faultOf(type, response.content[type].schema, body)
    }

    function undocumented () {
      if (typeOf(headers) !== PROBLEM) return `the type is ${typeOf(headers)}`
      return method === 'HEAD' ? undefined : fault({ $ref: '#/components/schemas/Problem' }, body)
    }
  }

  /** Why a body of this type is not of this schema of the document; undefined if it is. What is not JSON is a string. */
  function faultOf (type: string, schema: Json, body: string) {
    return fault(schema, type.endsWith('json') ? body : JSON.stringify(body))
  }

  /** Why a text is not JSON of this schema of the document; undefined if it is. */
  function fault (schema: Json, text: string) {
    const validate = validatorOf(schema)
    return isJson(text) ? validate(JSON.parse(text)) ? undefined : ajv.errorsText(validate.errors) : 'the body is not JSON'
  }

  function validatorOf (schema: Json) {
    const text = JSON.stringify(schema).replaceAll('"#/', '"document#/')
    const known = validators.get(text) ?? ajv.compile(JSON.parse(text))
    validators.set(text, known)
    return known
  }
}

/** Clients are to bear what is added to an answer one day; what is not documented yet is in none. */
function closed (part: any): any {
  if (typeof part !== 'object' || part === null) return part
  if (Array.isArray(part)) return part.map(closed)
  const inner = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, closed(value)]))
  return inner.type === 'object' && inner.properties ? { additionalProperties: false, ...inner } : inner
}

const typeOf = (headers: Record<string, unknown>) => String(headers['content-type']).replace(/;.*/, '')

function isJson (text: string) {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

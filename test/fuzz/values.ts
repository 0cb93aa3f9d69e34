import fc from 'fast-check'
import { resolve, type Json } from '../contract.ts'

const DAY_MS = 86_400_000
const FEW = 4
const LONGEST = 200

const label = fc.string({ unit: fc.constantFrom(...'abcxyz0189'), minLength: 1, maxLength: 8 })
const start = fc.constantFrom('user', 'USER', 'us\u00e9r')
const host = fc.constantFrom('example.com', 'Example.ORG', 'b\u00fccher.example', 'a.b.c.example')
const email = fc.tuple(start, fc.constantFrom('.', '+', '_', '-'), label, label, host)
  .map(([start, sign, end, label, host]) => `${start}${sign}${end}@x${label}.${host}`)
const newPassword = fc.string({ unit: 'grapheme', minLength: 6, maxLength: 60 }).map((text) => `~ ${text}`).filter(isAllowed)

/** What the schema alone does not say, by the name of the property: values that mean something. */
const MEANT: Record<string, fc.Arbitrary<unknown>> = {
  email: fc.oneof(fc.constant('{{email}}'), email, email.map((email) => ` ${email}\t`)),
  password: fc.oneof(fc.constant('{{password}}'), newPassword),
  currentPassword: fc.constantFrom('{{password}}', 'a wrong one'),
  newPassword,
  refreshToken: fc.constantFrom('{{refreshToken}}', '{{otherRefreshToken}}'),
  id: fc.oneof(fc.constantFrom('{{sessionId}}', '{{secondSessionId}}', '{{otherSessionId}}'), fc.uuid()),
  limit: fc.constantFrom('1', '20', '100'),
  'if-match': fc.constantFrom('{{etag}}', '*', '"x"', '"x", {{etag}}'),
  'if-none-match': fc.constantFrom('{{etag}}', '*', '"x"', 'W/{{etag}}, "x"')
}

// Common ones do not begin like that; what else is refused, the document says of newPassword.
function isAllowed (password: string) {
  const length = [...password.normalize('NFKC')].length
  return length >= 8 && length <= 128 && !/microts|us.r[.+_-]|\0/i.test(password)
}

/** Values that a schema of the document takes, and the service with it. */
export function valuesOf (document: Json) {
  return valid

  function valid (part: Json, name = ''): fc.Arbitrary<unknown> {
    const schema = resolve(document, part)
    if (Array.isArray(schema.type)) return fc.oneof(...schema.type.map((type: string) => valid({ ...schema, type }, name)))
    if (schema.type !== 'null' && MEANT[name]) return MEANT[name]
    if (schema.enum) return fc.constantFrom(...schema.enum)
    if (schema.const !== undefined) return fc.constant(schema.const)
    switch (schema.type) {
      case 'string': return text(schema)
      case 'integer': return fc.integer({ min: schema.minimum, max: schema.maximum })
      case 'number': return fc.double({ min: schema.minimum, max: schema.maximum, noNaN: true, noDefaultInfinity: true })
      case 'boolean': return fc.boolean()
      case 'null': return fc.constant(null)
      case 'array': return fc.array(valid(schema.items ?? {}), { minLength: schema.minItems, maxLength: Math.min(schema.maxItems ?? FEW, FEW) })
      case 'object': return object(schema)
      default: return fc.jsonValue({ maxDepth: 2 })
    }
  }

  function object ({ properties = {}, required = [] }: Json) {
    const values = Object.entries<Json>(properties).map(([name, property]) => [name, valid(property, name)])
    return fc.record(Object.fromEntries(values), { requiredKeys: required })
  }
}

function text ({ minLength = 0, maxLength = LONGEST, pattern = '', format, examples = [''] }: Json): fc.Arbitrary<string> {
  if (format === 'uuid') return fc.uuid()
  if (format === 'date-time') return fc.nat(40_000).map((day) => new Date(day * DAY_MS).toISOString())
  const form = new RegExp(pattern, 'u')
  const one = { minLength: 1, maxLength: 1 }
  const unit = fc.oneof({ weight: 5, arbitrary: fc.string(one) }, { weight: 1, arbitrary: fc.string({ ...one, unit: 'binary' }) })
  return fc.string({ unit, minLength, maxLength: Math.min(maxLength, LONGEST) })
    .map((text) => form.test(text) && !text.includes('\0') ? text : examples[0])
}

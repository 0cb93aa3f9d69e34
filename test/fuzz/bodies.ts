import fc from 'fast-check'
import { resolve, type Json } from '../contract.ts'
import { bytesOf } from './bytes.ts'
import { anyJson, hostileKey, hostileText } from './hostile.ts'
import { valuesOf } from './values.ts'

/** A member of an object, as the JSON texts of its name and value. */
type Member = [name: string, value: string]
type Mutation = (members: Member[]) => Member[]

const json = (value: unknown) => bytesOf(JSON.stringify(value))
const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
const SPELLINGS: ((value: unknown) => string)[] = [
  json,
  (value) => bytesOf(`\r\n${JSON.stringify(value, null, '\t')} `),
  (value) => JSON.stringify(value).replace(/[\x7f-\uffff]/g, escaped)
]
const hostileJson = hostileText.map(json)
// In a text that would be taken but for that.
const illFormed = fc.constantFrom('\\u0000', '\\ud800', '\\udc00\\ud800', '\xff', '\xc0\x80', '\xed\xa0\x80', '\xf0\x9f', '\x80').map((bytes) => `"~ correct ${bytes} horse"`)

/** Bodies for the schemas of a document. */
export function bodiesOf (document: Json) {
  const valid = valuesOf(document)
  return { documented, nearly, form, oddForm }

  function documented (schema: Json) {
    return fc.tuple(valid(schema), fc.constantFrom(...SPELLINGS)).map(([value, spell]) => spell(value))
  }

  /** An object of the schema, but for one thing. */
  function nearly (part: Json) {
    const schema = resolve(document, part)
    return fc.tuple(valid(schema), mutation(schema)).map(([value, mutate]) => {
      const members = Object.entries(value as object).map((member) => member.map(json) as Member)
      return `{${mutate(members).map((member) => member.join(':')).join()}}`
    })
  }

  function mutation ({ properties = {} }: Json): fc.Arbitrary<Mutation> {
    const name = fc.constantFrom(...Object.keys(properties).map(json))
    const wrong = fc.constantFrom(...Object.entries<Json>(properties)).chain(([name, property]) =>
      fc.oneof(anyJson, beyond(resolve(document, property)), hostileJson, illFormed).map((value): Member => [json(name), value]))
    const more = fc.tuple(hostileKey.map(json), fc.oneof(fc.constantFrom('"admin"', 'true'), anyJson))
    return fc.oneof(
      { weight: 3, arbitrary: wrong.map(([name, value]): Mutation => (members) => [...without(name)(members), [name, value]]) },
      { weight: 3, arbitrary: more.map((member): Mutation => (members) => [...members, member]) },
      { weight: 1, arbitrary: wrong.map((member): Mutation => (members) => [member, ...members]) },
      { weight: 1, arbitrary: wrong.map((member): Mutation => (members) => [...members, member]) },
      { weight: 1, arbitrary: name.map(without) },
      { weight: 1, arbitrary: name.map((name) => renamed(name, name.toUpperCase())) },
      { weight: 1, arbitrary: name.map((name) => renamed(name, name.replace('"', '" '))) }
    )
  }

  /** A form of the schema; null has no spelling in a form. */
  function form (schema: Json) {
    return valid(schema).map((value) => Object.entries(value as object).filter(([, value]) => value !== null).map(field).join('&'))
  }

  function oddForm (schema: Json) {
    const name = fc.oneof(fc.constantFrom(...Object.keys(resolve(document, schema).properties)), hostileKey)
    return fc.array(fc.tuple(name, hostileText).map(field), { minLength: 1, maxLength: 4 }).map((fields) => fields.join('&'))
  }
}

const without = (name: string): Mutation => (members) => members.filter(([other]) => other !== name)
const renamed = (from: string, to: string): Mutation => (members) => members.map(([name, value]) => [name === from ? to : name, value])

/** JSON texts just outside of what a schema takes. */
function beyond ({ minLength = 0, maxLength, minimum, maximum, enum: values = [] }: Json) {
  const texts = ['null', ...values.map((value: unknown) => json(String(value).toUpperCase()))]
  if (minLength > 0) texts.push(json('a'.repeat(minLength - 1)))
  if (maxLength !== undefined) texts.push(json('a'.repeat(maxLength + 1)), json('\u{1f600}'.repeat(maxLength + 1)))
  if (minimum !== undefined) texts.push(String(minimum - 1))
  if (maximum !== undefined) texts.push(String(maximum + 1))
  return fc.constantFrom(...texts)
}

/** A text for a URL or a form; what stands for a value of the persona stays. */
export const encoded = (text: unknown) => encodeURIComponent(String(text).toWellFormed()).replace(/%7B%7B(\w+)%7D%7D/g, '{{$1}}')

const field = ([name, value]: [string, unknown]) => `${encoded(name)}=${encoded(value)}`

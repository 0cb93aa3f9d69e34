import fc from 'fast-check'
import { bodiesOf, encoded } from './bodies.ts'
import { bytesOf, ODD_FRAMINGS, ODD_HEADS, type Header, type Request } from './bytes.ts'
import { hostileBody, hostileText } from './hostile.ts'
import { bent, commonHeaders, oddAuthorization, oddHeaders, oddMethod, oddQuery, oddType } from './oddities.ts'
import { valuesOf } from './values.ts'
import type { Json } from '../contract.ts'

export type Operation = { method: string, path: string, operation: Json }
type Body = { type?: string, bytes: string }
type Part<Value> = { value: Value, isOdd: boolean }
type Parts = {
  [Name in 'method' | 'path' | 'query']: Part<string>
} & { authorization: Part<string | undefined>, headers: Part<Header[]>, body: Part<Body>, framing: Part<Request['framing']>, head: Part<Request['head']> }

const FORM = 'application/x-www-form-urlencoded'
const OF = 16

export const operationsOf = ({ paths }: Json): Operation[] => Object.entries<Json>(paths).flatMap(([path, item]) =>
  Object.entries<Json>(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })))

/** Requests for the operations of a document: each part of them as it should be, or odd. */
export function requestsOf (document: Json) {
  const valid = valuesOf(document)
  const bodies = bodiesOf(document)
  return requests

  function requests ({ method, path, operation: { parameters = [], requestBody, security } }: Operation): fc.Arbitrary<Request> {
    const token = tokenOf(security)
    const parametersIn = (place: string) => pairs(parameters.filter((parameter: Json) => parameter.in === place))
    const body = requestBody ? part(9, documentedBody(requestBody.content), oddBody(requestBody.content)) : part(1, fc.constant<Body>({ bytes: '' }), undocumentedBody)
    const framing = requestBody ? fc.constantFrom('length' as const, 'chunked' as const) : fc.constant('none' as const)
    const filled = parametersIn('path').map((pairs) => pairs.reduce((path, [name, value]) => path.replace(`{${name}}`, value), path))
    return fc.record<Parts>({
      method: part(1, fc.constant(method), oddMethod),
      path: part(1, filled, path.includes('{') ? fc.oneof(bent(filled), hostileText.map((text) => path.replace(/\{\w+\}/, () => encoded(text)))) : bent(filled)),
      query: part(1, parametersIn('query').map(queryOf), oddQuery),
      authorization: part(token ? 2 : 1, fc.constant(token && `Bearer ${token}`), oddAuthorization),
      headers: part(2, fc.tuple(parametersIn('header'), commonHeaders).map(([own, common]) => [...own, ...common]), oddHeaders),
      body,
      framing: part(1, framing, fc.constantFrom(...ODD_FRAMINGS)),
      head: part(1, fc.constant('plain' as const), fc.constantFrom(...ODD_HEADS))
    }).map(assembled)
  }

  /** Names and values of parameters, those that are optional not always. */
  function pairs (parameters: Json[]): fc.Arbitrary<Header[]> {
    const values = parameters.map(({ name, schema, required }) => [name, valid(schema, name).map(String), required] as const)
    const requiredKeys = values.filter(([, , required]) => required).map(([name]) => name)
    return fc.record<Record<string, string>>(Object.fromEntries(values), { requiredKeys }).map((values) => Object.entries(values))
  }

  function documentedBody (content: Json): fc.Arbitrary<Body> {
    const byType = Object.entries<Json>(content).map(([type, { schema }]) => type === FORM
      ? fc.record({ type: fc.constant(type), bytes: bodies.form(schema) })
      : fc.record({ type: fc.constantFrom(type, `${type}; charset=utf-8`, type.toUpperCase()), bytes: bodies.documented(schema) }))
    return fc.oneof(...byType)
  }

  function oddBody (content: Json): fc.Arbitrary<Body> {
    const [[json, { schema }]] = Object.entries<Json>(content) as [[string, Json]]
    const type = fc.constantFrom(...Object.keys(content))
    return fc.oneof(
      { withCrossShrink: true },
      { weight: 5, arbitrary: fc.record({ type: fc.constant(json), bytes: bodies.nearly(schema) }) },
      { weight: 3, arbitrary: fc.record({ type, bytes: hostileBody }) },
      { weight: 2, arbitrary: fc.record({ type: oddType, bytes: bodies.documented(schema) }) },
      { weight: 1, arbitrary: fc.record({ type, bytes: bodies.oddForm(schema) }) }
    )
  }
}

const undocumentedBody = fc.record<Body>({ type: fc.oneof(fc.constant('application/json'), oddType), bytes: hostileBody })

/** The token that an operation wants, if it wants one. */
const tokenOf = ([scheme]: Json[]) => scheme && (scheme.operator ? '{{operatorToken}}' : '{{accessToken}}')

/** Odd in as many of sixteen cases as `oddness` says; what fails is shrunk to what is not odd, if that fails too. */
const part = <Value>(oddness: number, plain: fc.Arbitrary<Value>, odd: fc.Arbitrary<Value>): fc.Arbitrary<Part<Value>> => fc.oneof(
  { withCrossShrink: true },
  { weight: OF - oddness, arbitrary: plain.map((value) => ({ value, isOdd: false })) },
  { weight: oddness, arbitrary: odd.map((value) => ({ value, isOdd: true })) }
)

const queryOf = (pairs: Header[]) => pairs.length > 0 ? `?${pairs.map((pair) => pair.map(encoded).join('=')).join('&')}` : ''

function assembled (parts: Parts): Request {
  const { method, path, query, authorization, headers, body, framing, head } = parts
  const own = [['Authorization', authorization.value], ['Content-Type', body.value.type]].filter((header): header is Header => header[1] !== undefined)
  return {
    method: method.value,
    target: bytesOf(`${path.value}${query.value}`),
    headers: [...own, ...headers.value],
    body: body.value.bytes,
    // What is not announced would be read as the next request.
    framing: framing.value === 'none' && body.value.bytes !== '' ? 'length' : framing.value,
    head: head.value,
    odd: Object.entries(parts).filter(([, { isOdd }]) => isOdd).map(([name]) => name)
  }
}

import { isUtf8 } from 'node:buffer'
import { contractOf, resolve, type Json } from '../contract.ts'
import type { Answer } from './connection.ts'
import type { Request } from './bytes.ts'
import type { Operation } from './requests.ts'

/** Tokens by what they are worth. */
export type Tokens = Record<'valid' | 'revoked' | 'operator', (string | undefined)[]>

const BODY_BYTES = 10_240
// What fuzzing sends is smaller.
const ROOMY = 'receiveAlerts'
const MALFORMED = [400, 404, 405, 408, 413, 414, 415, 417, 429, 431]
/** What a fault of one part is answered with, if all else is right. */
const REFUSALS = { authorization: [401], query: [400, 431], body: [400, 413, 415] }
const PARTS = ['authorization', 'query', 'body'] as const
const ABOUT_TOKEN = ['UNAUTHORIZED', 'TOKEN_EXPIRED']
const BEARER = /^Bearer +(\S+) *$/i
// Which may be repeated with a token that it has made worthless.
const REPEATABLE = 'logout'

/** The document as a judge of exchanges: of what a request has to be refused for, and of what is answered. */
export function judgeOf (document: Json) {
  const contract = contractOf(document)

  return { complaint, violation: contract.violation }

  /** What is wrong with the answer to a request that was made for this operation; undefined if nothing is. */
  function complaint (request: Request, { path, operation }: Operation, answer: Answer | undefined, tokens: Tokens): string | undefined {
    const { odd, method } = request
    if (!answer) return odd.includes('framing') ? undefined : 'there is no answer'
    const { status, body } = answer
    if (status >= 500) return 'the answer is a failure of the service'
    if (answer.excess !== '' && !mayFollow(request)) return `after the answer there is more: ${answer.excess.slice(0, 200)}`

    // Where the path is bent, nobody knows which route it leads to.
    const route = odd.includes('path') && status >= 400 ? 'nowhere' : path
    const undocumented = contract.violation({ ...answer, method, path: route })
    if (undocumented) return undocumented

    if (odd.length === 0) return isRefusal(operation, status, body) ? 'it is refused, although it is as documented' : undefined
    if (odd.includes('method') || odd.includes('path')) return undefined
    const [part, fault] = faultOf(request, operation, tokens)
    if (fault && status < 400) return `it is not refused, although ${fault}`
    if (fault && odd.join() === part && !REFUSALS[part].includes(status)) return `it is not refused for what it is, although ${fault}`
    return undefined
  }

  function isRefusal ({ responses, security }: Json, status: number, body: string) {
    if (status === 401) return security.length > 0 && ABOUT_TOKEN.includes(JSON.parse(body).code)
    return MALFORMED.includes(status) && !(status === 404 && responses[404])
  }

  /** In which part a request has to be refused, and why; undefined where that is not certain. */
  function faultOf (request: Request, operation: Json, tokens: Tokens): [part: keyof typeof REFUSALS, fault?: string] {
    const faults = { authorization: tokenFault(request, operation, tokens), query: queryFault(request, operation), body: bodyFault(request, operation) }
    const part = PARTS.find((part) => faults[part] !== undefined) ?? 'body'
    return [part, faults[part]]
  }

  function tokenFault ({ headers }: Request, { security, operationId }: Json, { valid, revoked, operator }: Tokens) {
    const given = headers.filter(([name]) => name.toLowerCase() === 'authorization').map(([, value]) => BEARER.exec(value)?.[1])
    if (given.length > 1) return 'it has more than one Authorization'
    if (security.length === 0) return undefined
    const accepted = security[0].operator ? operator : operationId === REPEATABLE ? [...valid, ...revoked] : valid
    return accepted.includes(given[0]) ? undefined : 'it has no valid token'
  }

  function queryFault ({ target }: Request, { parameters = [] }: Json) {
    const query = target.split(/\?(.*)/s)[1] ?? ''
    const names = query.split('&').map((pair) => pair.split('=', 1)[0] ?? '').filter(Boolean)
    const declared = new Map<string, Json>(parameters.filter((parameter: Json) => parameter.in === 'query').map(({ name, schema }: Json) => [name, schema]))
    if (names.some((name) => !declared.has(decoded(name)))) return 'its query is not declared'
    if (new Set(names).size < names.length) return 'its query names something twice'
    for (const [name, value] of new URLSearchParams(query)) {
      const fault = name && contract.fault(declared.get(name)!, declared.get(name)!.type === 'string' ? JSON.stringify(value) : value)
      if (fault) return `its query is not as declared: ${fault}`
    }
    return undefined
  }

  function bodyFault ({ headers, body, framing, odd }: Request, { requestBody, operationId }: Json) {
    if (!requestBody || odd.includes('framing')) return undefined
    if (headers.some(([name]) => name === 'Content-Encoding')) return 'it is encoded'
    if (body.length > BODY_BYTES && operationId !== ROOMY) return 'it is too large'
    const [type = '', ...parameters] = (headers.find(([name]) => name === 'Content-Type')?.[1] ?? '').toLowerCase().split(';')
    const content = requestBody.content[type.trim()]
    if (!content) return 'it is of another type'
    if (parameters.some((parameter) => /charset\s*=\s*"?(?!utf-8)[^"\s]/.test(parameter))) return 'it is in another charset'
    return type.includes('json') ? jsonFault(body, content.schema) : formFault(body, content.schema)
  }

  function jsonFault (body: string, schema: Json) {
    const bytes = Buffer.from(body, 'latin1')
    if (!isUtf8(bytes)) return 'it is not UTF-8'
    const text = bytes.toString().replace(/^\ufeff/, '')
    const fault = contract.fault(schema, text)
    if (fault) return `it is not of its schema: ${fault}`
    // Of what is taken and ignored nobody reads the texts.
    const isOpen = resolve(document, schema).additionalProperties === true
    return !isOpen && isIllFormed(JSON.parse(text)) ? 'it holds a NUL or a lone surrogate' : undefined
  }

  function formFault (body: string, schema: Json) {
    const fields = new URLSearchParams(body)
    if (new Set(fields.keys()).size < fields.size) return 'a field is given twice'
    const fault = contract.fault(schema, JSON.stringify(Object.fromEntries(fields)))
    return fault ? `it is not of its schema: ${fault}` : undefined
  }
}

function decoded (text: string) {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

// Where a body or the head is bent, its rest may be the next request.
const mayFollow = ({ odd }: Request) => odd.includes('framing') || odd.includes('head')

const isIllFormed = (value: unknown): boolean => typeof value === 'string'
  ? value.includes('\0') || !value.isWellFormed()
  : typeof value === 'object' && value !== null && Object.values(value).some(isIllFormed)

import fc from 'fast-check'
import { encoded } from './bodies.ts'
import { hostileKey, hostileText } from './hostile.ts'
import type { Header } from './bytes.ts'

/** What may be wrong with the parts of a request, its body left aside. */

const ID = '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'
const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

export const oddMethod = fc.constantFrom(
  'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'QUERY', 'PROPFIND', 'PURGE', 'M-SEARCH', 'get', 'GETS', 'X', ''
)

const scheme = fc.constantFrom('Bearer ', 'bearer ', 'BEARER   ', 'Bearer', 'Basic ', 'Bearer\t', '')
const token = fc.constantFrom(
  '{{accessToken}}', '{{otherAccessToken}}', '{{revokedAccessToken}}', '{{operatorToken}}', '{{refreshToken}}', '{{accessToken}}A', '{{accessToken}}.', 'x', 'a.b.c', '..', '', '\xff', 'null',
  'eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.', 'e30.e30.e30', `${'a'.repeat(3000)}.a.a`
)
export const oddAuthorization = fc.oneof(
  fc.tuple(scheme, token, fc.constantFrom('', '', '', ' ', ' x', ', Bearer x')).map((parts) => parts.join('')),
  fc.constant(undefined)
)

export const oddType = fc.constantFrom(
  undefined, '', 'text/plain', 'application/jsonx', 'application/problem+json', 'application/xml', 'multipart/form-data', 'multipart/form-data; boundary=x', 'a', '/', '*/*', '\xff/\xff',
  'application/json; charset=utf-16', 'application/json; charset=latin1', 'application/json; charset', 'application/json;', 'application/json ;charset="UTF-8"', ' \tapplication/json', 'application/json\ta',
  'application/json, text/plain', `application/json; a=${'a'.repeat(5000)}`, 'application/x-www-form-urlencoded', 'application/X-WWW-form-urlencoded; charset=utf-8'
)

const bends: ((path: string) => string)[] = [
  (path) => `${path}/`, (path) => `/${path}`, (path) => path.toUpperCase(), (path) => path.slice(1), (path) => path.slice(0, -1), (path) => `${path}x`, (path) => `${path};a=b`, (path) => `${path}.json`,
  (path) => `${path}/..${path}`, (path) => `/x/../${path}`, (path) => `/.${path}`, (path) => `/%2e%2e${path}`, (path) => path.replace(/(?<=.)\//, '%2f'), (path) => `${path}\\..`, (path) => `${path}#a`,
  (path) => path.replace(/\w/, (letter) => `%${letter.charCodeAt(0).toString(16)}`), (path) => `${path}%00`, (path) => `${path}%`, (path) => `${path}%zz`, (path) => `${path}%ff`, (path) => `${path}%c0%80`,
  (path) => `${path} x`, (path) => `${path}\xff`, (path) => `${path}\x7f`, (path) => `http://localhost${path}`, (path) => `//example.com${path}`, (path) => `http://[${path}`,
  (path) => `${path}/${'a'.repeat(5000)}`, (path) => `${path}/${'a/'.repeat(2000)}`, (path) => `${path}/${ID}`, (path) => `${path}/*`, () => '*', () => '', () => '/', () => '/docs/..%2f'
]
/** Paths near one of the document. */
export const bent = (path: fc.Arbitrary<string>) => fc.tuple(path, fc.constantFrom(...bends)).map(([path, bend]) => bend(path))

export const oddQuery = fc.oneof(
  fc.constantFrom(
    '?', '?&', '?=', '?all', '?all=', '?all=1', '?all=TRUE', '?all=yes', '?all=true&all=false', '?all[]=true', '?all=true;x=1', '?a=b', '?__proto__=1', '?constructor=1', '?constructor.prototype=1', '?toString=1',
    '?%', '?all=%', '?all=%zz', '?all=%00', '?all=%ff', '?%ff=1', '??', '?#', `?all=${'a'.repeat(5000)}`, `?${'a=1&'.repeat(2000)}`
  ),
  fc.tuple(hostileKey, hostileText).map((pair) => `?${pair.map(encoded).join('=')}`)
)

const HEADERS: Record<string, string[]> = {
  Accept: ['text/html', '\xff'],
  'Accept-Encoding': ['gzip;q=nonsense'],
  'Access-Control-Request-Method': ['GET'],
  Authorization: ['Bearer x', 'Bearer {{otherAccessToken}}'],
  Connection: ['close', 'Upgrade', 'authorization, host'],
  'Content-Encoding': ['gzip', 'identity', ''],
  'Content-Length': ['0'],
  Cookie: ['a=b; '.repeat(500)],
  Expect: ['100-continue', 'a miracle'],
  Forwarded: ['for="[::1]"'],
  'If-Match': [',', 'W/"x"', 'a'.repeat(1001), '\xff'],
  'If-Modified-Since': ['x'],
  'If-None-Match': ['"'.repeat(1000), 'a'.repeat(1001)],
  'If-Range': ['"x"'],
  'Keep-Alive': ['timeout=-1'],
  Origin: ['null', 'https://example.com'],
  Range: ['bytes=0-0'],
  TE: ['trailers'],
  Trailer: ['x'],
  Upgrade: ['websocket', 'h2c'],
  'User-Agent': ['', '\xff\xfe\x80', "'; drop table sessions; --", 'a'.repeat(5000), '\xf0\x9f\x98\x80'.repeat(64)],
  'X-Correlation-Id': ['"\\'],
  'X-Forwarded-For': ['127.0.0.1, \xff', 'a'.repeat(5000)],
  'X-Forwarded-Host': ['example.com'],
  'X-Forwarded-Proto': ['x'],
  'X-HTTP-Method-Override': ['DELETE'],
  'X-Original-URL': ['/status'],
  'X-Request-Id': ['', 'a b', 'a'.repeat(129), '../../\xff'],
  ['__proto__']: ['x'],
  constructor: ['x'],
  toString: ['x'],
  traceparent: ['00-0-0-0', `${TRACE}-`, 'ff']
}
const anyBytes = fc.uint8Array({ maxLength: 40 }).map((bytes): Header => ['X-Bytes', Buffer.from(bytes).toString('latin1').replace(/[\r\n]/g, '')])
const oddHeader = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...Object.entries(HEADERS).flatMap(([name, values]) => values.map((value): Header => [name, value]))) },
  { weight: 1, arbitrary: anyBytes }
)
export const oddHeaders = fc.array(oddHeader, { minLength: 1, maxLength: 3 })

export const commonHeaders = fc.subarray<Header>([
  ['Accept', 'application/json'], ['User-Agent', 'Mozilla/5.0'], ['X-Request-Id', 'a.b-c_1'], ['X-Correlation-Id', 'a'], ['traceparent', TRACE], ['Cookie', 'a=b']
])

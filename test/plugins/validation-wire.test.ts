import { test } from 'tap'
import { build, signUp } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'

const JSON_TYPE = 'Content-Type: application/json'
const sized = (body: string) => `Content-Length: ${body.length}`

test('what a type is called on the wire decides as little as what it is called in a test', async (t) => {
  const { send } = await wire(await build(t))
  const login = (...types: string[]) => send(Buffer.from(head('POST /auth/login', ...types.map((type) => `Content-Type:${type}`), 'Content-Length: 2') + '{}', 'latin1'))
  const taken = [['application/json'], ['  application/json\t '], [' Application/JSON ;charset=UTF-8'], [' application/json;;;'], [' application/json; ='], [` application/json;${' '.repeat(9000)}x`], [` application/json${';a=b'.repeat(2000)}`]]
  const refused = [
    [''], [' ;'], [' application/json\xa0x'], [' application/json,'], [' ,application/json'], [' application/json, application/json'], [' application/json+x'], [' application/json/x'], [' application/problem+json'], [' application/merge-patch+json'], [' application/*'], [' */*'],
    [' text/plain;application/json'], [' text/plain, application/json'], [' text/plain', ' application/json'], [' application/x-www-form-urlencoded\ta'], [' application/x-www-form-urlencodedx'], [' __proto__'], [' constructor/prototype'], [` application/json${' '.repeat(9000)}x`], [` ${'a'.repeat(9000)}/b`],
    [' application/json; charset=utf8'], [' application/json; charset=us-ascii'], [' application/json ;charset=utf-16'], [' application/json;\tCHARSET\t=\tutf-16'], [" application/json; charset='utf-8'"], [' application/json; charset=\\utf-8'],
    [' application/json; charset=utf-8; charset=utf-16'], [' application/json; charset="utf-8"; charset=utf-7'], [" application/json; charset*=utf-16''x"]
  ]
  for (const types of taken) isProblem(t, await login(...types), 400, 'VALIDATION_ERROR', JSON.stringify(types).slice(0, 60))
  for (const types of refused) isProblem(t, await login(...types), 415, 'UNSUPPORTED_MEDIA_TYPE', JSON.stringify(types).slice(0, 60))
  isProblem(t, await login(' application/json\x0b'), 400, 'BAD_REQUEST')
  const ambiguous = await login(' application/json', ' text/plain')
  t.ok([400, 415].includes(ambiguous.statusCode), 'two types')
})

test('who is refused is refused for what comes first: the path, the method, the caller, and the body last', async (t) => {
  const app = await build(t)
  const { send } = await wire(app)
  const bodies: [body: string, ...headers: string[]][] = [
    ['{', JSON_TYPE], ['', JSON_TYPE], ['x', 'Content-Type: text/plain'], ['x'], [' '.repeat(10_241), JSON_TYPE], ['{}', JSON_TYPE, 'Content-Encoding: gzip'], ['{}', 'Content-Type: application/json; charset=utf-16'], ['[{"__proto__":1}]', JSON_TYPE]
  ]
  const lines: [line: string, status: number, code: string][] = [
    ['POST /nothing', 404, 'NOT_FOUND'], ['QUERY /nothing', 404, 'NOT_FOUND'], ['DELETE /me/nothing', 404, 'NOT_FOUND'], ['PUT /auth/login', 405, 'METHOD_NOT_ALLOWED'], ['TRACE /me', 405, 'METHOD_NOT_ALLOWED'], ['QUERY /me', 405, 'METHOD_NOT_ALLOWED'],
    ['PATCH /me', 401, 'UNAUTHORIZED'], ['PUT /me/password', 401, 'UNAUTHORIZED'], ['DELETE /me', 401, 'UNAUTHORIZED'], ['POST /auth/logout', 401, 'UNAUTHORIZED']
  ]
  for (const [line, status, code] of lines) {
    for (const [body, ...headers] of bodies) isProblem(t, await send(head(line, ...headers, sized(body)), body), status, code, `${line} ${headers} ${body.length}`)
  }
})

test('a method without a body has no use for one', async (t) => {
  const app = await build(t)
  const { accessToken } = await signUp(app)
  const { send } = await wire(app)
  const bodies: [body: string, ...headers: string[]][] = [
    ['{', JSON_TYPE], ['x', 'Content-Type: text/plain'], ['x'], [' '.repeat(20_000), JSON_TYPE], ['', 'Content-Type: nonsense'], ['', JSON_TYPE]
  ]
  for (const line of ['GET /health', 'HEAD /health', 'GET /me', 'HEAD /me', 'OPTIONS /me', 'OPTIONS /auth/login', 'OPTIONS /health']) {
    for (const [body, ...headers] of bodies) {
      const { statusCode } = await send(head(line, `Authorization: Bearer ${accessToken}`, ...headers, sized(body)), body)
      t.equal(statusCode, line.startsWith('OPTIONS') ? 204 : 200, `${line} ${headers} ${body.length}`)
    }
  }
})

test('the head has 16 kB, and what is beside it does not count', async (t) => {
  const { send } = await wire(await build(t))
  const names = (count: number) => Array.from({ length: count }, (_, i) => `x-${i}: ${i}`)
  const table: [headers: string[], status: number][] = [[[`X-A: ${'a'.repeat(16_000)}`], 200], [[`X-A: ${'a'.repeat(16_500)}`], 431], [names(500), 200], [names(2500), 431], [[`${'x'.repeat(17_000)}: a`], 431], [[`Cookie: ${'a=b; '.repeat(4000)}`], 431]]
  for (const [headers, status] of table) {
    const answer = await send(head('GET /health', ...headers))
    if (status === 200) t.equal(answer.statusCode, 200, `${headers[0]?.length} ${headers.length}`)
    else isProblem(t, answer, 431, 'BAD_REQUEST', `${headers[0]?.slice(0, 9)} ${headers.length}`)
  }
  for (const [length, status] of [[8000, 404], [17_000, 431], [100_000, 431]] as const) t.equal((await send(head(`GET /${'a'.repeat(length)}`))).statusCode, status, `a path of ${length}`)
})

test('who sends far too much is told so, and not cut off before the answer is read', async (t) => {
  const { send } = await wire(await build(t))
  const flood = 'a'.repeat(5_000_000)
  for (let i = 0; i < 5; i++) {
    isProblem(t, await send(`GET /health HTTP/1.1\r\nHost: a\r\nX-A: ${flood}\r\n\r\n`), 431, 'BAD_REQUEST', 'a head')
    isProblem(t, await send(`hello${flood}`), 400, 'BAD_REQUEST', 'no HTTP')
  }
})

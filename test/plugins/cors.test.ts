import { test } from 'tap'
import { build } from '../helper.ts'
import { head, wire } from '../wire.ts'

const ORIGIN = 'https://app.example'
const CORS = { ALLOWED_ORIGINS: `${ORIGIN},http://localhost:5173,https://xn--mnchen-3ya.example` }
const READABLE = { 'access-control-allow-origin': ORIGIN, 'access-control-expose-headers': /ETag.*Retry-After.*X-Request-Id/, vary: /\bOrigin\b/i, 'access-control-allow-credentials': undefined }

test('every URL answers a preflight for each of its methods, and names no other origin', async (t) => {
  const app = await build(t, CORS)
  for (const template of [...app.urls].filter((url) => url !== '*')) {
    const url = template.replace(':id', 'x').replace('*', 'x')
    const { headers: { allow } } = await app.inject({ method: 'OPTIONS', url })
    for (const method of String(allow).split(', ').filter((method) => method !== 'OPTIONS')) {
      const headers = { origin: ORIGIN, 'access-control-request-method': method, 'access-control-request-headers': 'authorization, content-type, if-match, if-none-match, x-request-id, x-correlation-id, traceparent' }
      const answer = await app.inject({ method: 'OPTIONS', url, headers })
      t.match(answer, { statusCode: 204, body: '', headers: { allow, ...READABLE, 'access-control-max-age': /^\d+$/ } }, `${method} ${url}`)
      const listed = (name: string) => String(answer.headers[name]).toLowerCase().split(', ')
      t.ok(listed('access-control-allow-methods').includes(method.toLowerCase()), `${method} ${url}`)
      for (const header of headers['access-control-request-headers'].split(', ')) t.ok(listed('access-control-allow-headers').includes(header), header)
      t.notOk(Object.values(answer.headers).includes('*'))

      const refused = await app.inject({ method: 'OPTIONS', url, headers: { ...headers, origin: `${ORIGIN}.evil.example` } })
      t.match(refused, { statusCode: 204, headers: { allow, 'access-control-allow-origin': undefined, vary: /\bOrigin\b/i } }, `${method} ${url} from elsewhere`)
    }
  }
})

test('what is refused can be read as well, wherever it is refused', async (t) => {
  const { send } = await wire(await build(t, CORS))
  const table: [line: string, status: number, ...headers: string[]][] = [
    ['GET /nothing', 404], ['PUT /health', 405], ['TRACE /health', 405], ['GET /health?x=1', 400], ['GET /me', 401], ['POST /auth/login', 415, 'Content-Type: text/plain', 'Content-Length: 0'],
    ['GET /me', 400, 'Authorization: Bearer a', 'Authorization: Bearer b'], ['POST /auth/login', 413, 'Content-Type: application/json', 'Content-Length: 10241'],
    ['GET /%zz', 400], ['GET /docs/static/%', 400], [`DELETE /me/sessions/${'x'.repeat(101)}`, 414], ['GET /docs/static/nothing', 404], ['GET /health', 417, 'Expect: x']
  ]
  for (const [line, status, ...headers] of table) {
    const answer = await send(head(line, `Origin: ${ORIGIN}`, ...headers))
    t.match(answer, { statusCode: status, headers: READABLE }, line)
    const other = await send(head(line, 'Origin: https://evil.example', ...headers))
    t.match(other, { statusCode: status, headers: { 'access-control-allow-origin': undefined, vary: /\bOrigin\b/i } }, `${line} from elsewhere`)
  }
})

test('an origin is one whole string', async (t) => {
  const { send } = await wire(await build(t, CORS))
  const none = [
    ['Origin: https://app.example:443'], ['Origin: https://app.example.'], ['Origin: https://app.example/'], ['Origin: HTTPS://app.example'], ['Origin: https://App.example'], ['Origin: app.example'], ['Origin: //app.example'], ['Origin: https://app.example@evil.example'],
    ['Origin: https://app.example\\.evil.example'], ['Origin: https://appXexample'], ['Origin: https://app.example%00'], ['Origin: https://app.example\xff'], ['Origin: https://m\xfcnchen.example'], ['Origin: file://'], ['Origin: null'], ['Origin: undefined'], ['Origin: *'], ['Origin:'],
    ['Origin: https://app.example, https://evil.example'], ['Origin: https://app.example', 'Origin: https://evil.example'], ['Origin: https://evil.example', 'Origin: https://app.example'], ['X-Origin: https://app.example'], ['Referer: https://app.example/']
  ]
  for (const headers of none) {
    for (const line of ['GET /health', 'OPTIONS /health']) {
      const answer = await send(Buffer.from(head(line, ...headers), 'latin1'))
      t.match(answer, { statusCode: /^20[04]$/, headers: { 'access-control-allow-origin': undefined, vary: /\bOrigin\b/i } }, `${line} ${headers}`)
    }
  }
  for (const origin of CORS.ALLOWED_ORIGINS.split(',')) t.equal((await send(head('GET /health', `Origin: ${origin}`))).headers['access-control-allow-origin'], origin)
})

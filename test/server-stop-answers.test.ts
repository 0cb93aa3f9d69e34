import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'tap'
import { eventually } from './eventually.ts'
import { settings } from './helper.ts'
import { ready, start } from './processes.ts'

const PATIENCE_MS = 5000

const head = (line: string, ...headers: string[]) => [line, 'Host: localhost', ...headers, '', ''].join('\r\n')
const register = (...headers: string[]) => head('POST /auth/register HTTP/1.1', ...headers)

const table: [what: string, status: number, request: string][] = [
  ['what is found', 200, head('GET /.well-known/jwks.json HTTP/1.1')],
  ['the head of it alone', 200, head('HEAD /health HTTP/1.1')],
  ['a preflight', 204, head('OPTIONS /me HTTP/1.1')],
  ['the docs', 200, head('GET /docs/json HTTP/1.1')],
  ['readiness', 503, head('GET /ready HTTP/1.1')],
  ['nobody', 401, head('GET /me HTTP/1.1')],
  ['nothing', 404, head('GET /nowhere HTTP/1.1')],
  ['a method that is not there', 405, head('PUT /auth/login HTTP/1.1', 'Content-Length: 0')],
  ['a body that is not JSON', 400, `${register('Content-Type: application/json', 'Content-Length: 1')}{`],
  ['a body that does not fit', 400, `${register('Content-Type: application/json', 'Content-Length: 2')}{}`],
  ['a body of another type', 415, `${register('Content-Type: text/plain', 'Content-Length: 1')}x`],
  ['a body that is too large', 413, register('Content-Type: application/json', 'Content-Length: 99999')],
  ['a path that is malformed', 400, head('GET /%zz HTTP/1.1')],
  ['a parameter that is too long', 414, head(`DELETE /me/sessions/${'x'.repeat(200)} HTTP/1.1`)],
  ['an expectation', 417, register('Expect: something', 'Content-Length: 0')],
  ['no Host', 400, 'GET /health HTTP/1.1\r\n\r\n'],
  ['CONNECT', 405, head('CONNECT localhost:80 HTTP/1.1')],
  ['what is no HTTP', 400, 'hello\r\n\r\n']
]

test('while it stops, every answer of any kind says that the connection closes, and closes it', async (t) => {
  const server = start(t, 'server.ts', [], { ...settings, LOG_LEVEL: 'info', PORT: '0', SHUTDOWN_DELAY: '30000' })
  const url = await ready(server)
  server.child.kill('SIGTERM')
  await eventually(async () => (await fetch(`${url}/ready`)).status === 503)
  for (const [what, status, request] of table) {
    const answer = await tell(url, request)
    t.match(answer, new RegExp(`^HTTP/1.1 ${status} `), what)
    t.match(answer, /^connection: close\r$/im, what)
  }
  server.child.kill('SIGTERM')
  await server.ended
})

/** All that is answered until the other side closes, or has long been silent. */
async function tell (url: string, request: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.setTimeout(PATIENCE_MS, () => socket.destroy())
  socket.write(request)
  await once(socket, 'close')
  return Buffer.concat(chunks).toString()
}

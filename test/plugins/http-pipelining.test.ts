import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'tap'
import { build, PASSWORD, signUp } from '../helper.ts'
import { wire, type Answer } from '../wire.ts'

const GET = 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'
const LAST = 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
const CONNECT = 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'
const EXPECTING = 'GET /health HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n'

const loginOf = (email: string) => {
  const body = JSON.stringify({ email, password: PASSWORD })
  return `POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}
const statuses = ({ statusCode, body }: Answer) => [statusCode, ...[...body.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))]

test('answers come in the order of the requests, each with its own', async (t) => {
  const app = await build(t)
  const login = loginOf((await signUp(app)).email)
  const { send } = await wire(app)
  const table: [what: string, text: string, expected: number[]][] = [
    ['three of a kind', GET + GET + LAST, [200, 200, 200]],
    ['a slow one first', login + GET + LAST, [200, 200, 200]],
    ['a HEAD has no body', 'HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n' + LAST, [404, 200]],
    ['a refusal first', 'GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n' + LAST, [404, 200]],
    ['a bad path first', 'GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n' + LAST, [400, 200]],
    ['what is no request first', 'hello\r\n\r\n' + GET, [400]],
    ['what is no request second', GET + 'hello\r\n\r\n' + GET, [200, 400]],
    ['what is no request after a slow one', login + 'hello\r\n\r\n' + GET, [200, 400]],
    ['what is no request after two of them', login + login + 'hello\r\n\r\n', [200, 200, 400]],
    ['a bad chunk after a slow one', login + 'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', [200, 400]],
    ['CONNECT after a slow one', login + CONNECT, [200, 405]],
    ['an expectation after a slow one', login + EXPECTING + GET, [200, 417]],
    ['something after the last one', login.replace('\r\n', '\r\nConnection: close\r\n') + GET, [200]],
    ['a line end after the last one', login.replace('\r\n', '\r\nConnection: close\r\n') + '\r\n', [200]],
    ['too large a body', `POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 11000\r\n\r\n${' '.repeat(11_000)}${GET}`, [413]]
  ]
  for (const [what, text, expected] of table) t.same(statuses(await send(text)), expected, what)
})

test('whoever offers another protocol is answered in this one, and no byte after it is lost', async (t) => {
  const app = await build(t)
  const { send } = await wire(app)
  app.server.keepAliveTimeout = 100
  const offers = ['Connection: Upgrade\r\nUpgrade: websocket', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA', 'Connection: upgrade\r\nUpgrade: TLS/1.0']
  for (const offer of offers) {
    const asking = `GET /health HTTP/1.1\r\nHost: localhost\r\n${offer}\r\n\r\n`
    const answer = await send(asking + LAST)
    t.equal(answer.statusCode, 200, offer)
    t.ok(String(answer.headers.connection).toLowerCase() === 'close' || statuses(answer).length === 2, 'the second is answered, or known not to be')
  }
})

test('a client that has said all it has to say gets its answers', async (t) => {
  const app = await build(t)
  const { email, accessToken } = await signUp(app)
  const { port } = await wire(app)
  const me = `GET /me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${accessToken}\r\n\r\n`
  const table: [text: string, expected: number[]][] = [
    [GET, [200]], [me, [200]], [loginOf(email), [200]], [me + loginOf(email) + GET, [200, 200, 200]], ['GET /heal', [400]], [loginOf(email).slice(0, -1), [400]], [GET + 'GET /heal', [200, 400]], [loginOf(email) + 'GET /heal', [200, 400]]
  ]
  for (const [text, expected] of table) {
    const socket = connect({ port, allowHalfOpen: true })
    socket.end(text)
    let received = ''
    socket.setEncoding('utf8').on('data', (chunk) => { received += chunk })
    await once(socket, 'end')
    t.same([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status)), expected, String(text.split('\r\n', 1)))
    socket.destroy()
  }
})

for (const what of ['/health', '/%']) {
  test(`who sends hundreds of ${what} and takes no answers is cut`, async (t) => {
    const app = await build(t)
    const socket = connect((await wire(app)).port).pause()
    socket.on('error', () => {})
    const [connection] = await once(app.server, 'connection') as [Socket]
    const ended = once(connection, 'close')
    socket.write(`GET ${what} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(1000))
    await ended
    socket.destroy()
  })
}

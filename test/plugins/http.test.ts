import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'tap'
import { buildWith } from '../build-with.ts'
import { build } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'

test('what the parser refuses gets a problem document, and the connection is closed', async (t) => {
  const { send } = await wire(await build(t))
  const post = 'POST /auth/login'
  const table: [what: string, request: string | Buffer, status: number, code?: string][] = [
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['a TLS handshake', Buffer.from('16030100a5010000a10303', 'hex'), 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['an unknown method', head('FOO /health'), 400],
    ['bare line feeds', 'GET /health HTTP/1.1\nHost: localhost\n\n', 400],
    ['a folded header', head('GET /health', 'X-A: b', ' c'), 400],
    ['a space in a header name', head('GET /health', 'X A: b'), 400],
    ['NUL in a header', head('GET /health', 'X-A: b\0c'), 400],
    ['Content-Length and Transfer-Encoding', head(post, 'Content-Length: 5', 'Transfer-Encoding: chunked') + '0\r\n\r\n', 400],
    ['two Content-Lengths', head(post, 'Content-Length: 5', 'Content-Length: 6') + 'abcdef', 400],
    ['a Content-Length of abc', head(post, 'Content-Length: abc'), 400],
    ['a Content-Length below 0', head(post, 'Content-Length: -1'), 400],
    ['a chunk of no size', head(post, 'Content-Type: application/json', 'Transfer-Encoding: chunked') + 'zz\r\n', 400],
    ['headers above 16 kB', head('GET /health', `X-A: ${'a'.repeat(17_000)}`), 431],
    ['a URL above 16 kB', head(`GET /${'a'.repeat(17_000)}`), 431],
    ['another expectation', head(post, 'Expect: 200-ok', 'Content-Length: 2') + '{}', 417],
    ['CONNECT', 'CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n', 405, 'METHOD_NOT_ALLOWED']
  ]
  for (const [what, request, status, code = 'BAD_REQUEST'] of table) {
    const answer = await send(request)
    isProblem(t, answer, status, code, what)
    t.match(answer.headers, { connection: 'close', 'content-length': String(Buffer.byteLength(answer.body)) }, what)
    if (status === 405) t.equal(answer.headers.allow, '')
  }
})

test('a HEAD that the parser refuses is answered without a body as well', async (t) => {
  const { send } = await wire(await build(t))
  for (const request of [head('HEAD /health', 'X-A: b\0c'), head('HEAD /health', `X-A: ${'a'.repeat(17_000)}`)]) {
    const { statusCode, headers, body } = await send(request)
    t.match({ statusCode, headers, body }, { statusCode: /^4(00|31)$/, headers: { 'content-type': 'application/problem+json', 'content-length': /^[1-9]/ }, body: /^$/ })
  }
})

test('a request names one host and one caller', async (t) => {
  const { send } = await wire(await build(t))
  const table = {
    'no Host': 'GET /health HTTP/1.1\r\nConnection: close\r\n\r\n',
    'no Host in HTTP/1.0': 'GET /health HTTP/1.0\r\n\r\n',
    'two Hosts': head('GET /health', 'host: other'),
    'the same Host twice': head('GET /health', 'Host: localhost'),
    'two Authorizations': head('GET /me', 'Authorization: Bearer a', 'authorization: Bearer b'),
    'two Authorizations where none is needed': head('GET /health', 'Authorization: Bearer a', 'Authorization: Bearer a'),
    'no Host, and nothing there': 'GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n'
  }
  for (const [what, request] of Object.entries(table)) isProblem(t, await send(request), 400, 'BAD_REQUEST', what)
})

test('no path leads where another one should', async (t) => {
  const { send } = await wire(await build(t))
  const table: [path: string, status: number][] = [
    ['/%zz', 400], ['/health%', 400], ['/%ff', 400], ['/me/sessions/%e0%a4%a', 400], [`/me/sessions/${'a'.repeat(101)}`, 414],
    ['//health', 404], ['/health/', 404], ['/HEALTH', 404], ['/health;x', 404], ['/./health', 404], ['/x/../health', 404], ['/x/..%2fhealth', 404],
    ['/%2e%2e/health', 404], ['/health%00', 404], ['/health%20', 404], ['/docs/static/..%2f..%2fpackage.json', 404], ['/docs/static/%2e%2e/%2e%2e/package.json', 404],
    ['/docs/static/%00', 404], ['/docs/nothing', 404], ['/docs/../health', 404], ['/docs/%2e%2e/health', 404], ['/docs/static/..%2f..%2fapi', 404], ['*', 404]
  ]
  for (const [path, status] of table) {
    const answer = await send(head(`GET ${path}`, 'X-Request-Id: of-mine', 'X-Correlation-Id: of-ours'))
    const problem = isProblem(t, answer, status, status === 404 ? 'NOT_FOUND' : 'BAD_REQUEST', path)
    t.match(problem, { instance: path, requestId: 'of-mine', correlationId: 'of-ours' }, path)
    t.equal(answer.headers['x-correlation-id'], 'of-ours')
  }
  t.equal((await send(head('GET http://localhost/health'))).statusCode, 200, 'RFC 9112 section 3.2.2')
})

test('a method of another protocol is refused like one of HTTP', async (t) => {
  const { send } = await wire(await build(t))
  for (const method of ['DESCRIBE', 'SETUP', 'PLAY', 'TEARDOWN', 'GET_PARAMETER', 'FLUSH', 'SOURCE']) {
    const answer = await send(`${method} /health RTSP/1.0\r\nHost: localhost\r\n\r\n`)
    const code = { 400: 'BAD_REQUEST', 404: 'NOT_FOUND', 405: 'METHOD_NOT_ALLOWED' }[answer.statusCode]
    isProblem(t, answer, answer.statusCode, String(code), method)
  }
})

test('an id of the caller is echoed by what is refused before routing, where it can be read', async (t) => {
  const { send } = await wire(await build(t))
  const answer = await send(head('GET /health', 'X-Request-Id: of-mine', 'X-Correlation-Id: of-ours', 'Expect: x'))
  t.match(isProblem(t, answer, 417, 'BAD_REQUEST'), { requestId: 'of-mine', correlationId: 'of-ours' })
})

test('strange headers do no harm', async (t) => {
  const { send } = await wire(await build(t))
  for (const header of ['__proto__: x', 'constructor: x', 'hasOwnProperty: x', 'Upgrade: websocket', 'X-A: \xff', 'Cookie: a=b; a=c']) {
    t.equal((await send(head('GET /health', header))).statusCode, 200, header)
  }
  t.match(await send(head('POST /auth/login', 'Expect: 100-continue', 'Content-Type: application/json', 'Content-Length: 2') + '{}'), { statusCode: 400 })
})

test('a client that is slow to send is told so', async (t) => {
  const app = await build(t)
  const { send } = await wire(app)
  t.match(app.server, { headersTimeout: 10_000, requestTimeout: 10_000, connectionsCheckingInterval: 1000 })
  Object.assign(app.server, { headersTimeout: 100, requestTimeout: 100 })
  const table = { head: 'GET /health HTTP/1.1\r\nHost:', body: head('POST /auth/login', 'Content-Type: application/json', 'Content-Length: 9') + '{' }
  await Promise.all(Object.entries(table).map(async ([what, request]) => isProblem(t, await send(request), 408, 'REQUEST_TIMEOUT', what)))
})

test('an answer that has begun is not followed by another one', async (t) => {
  const app = await buildWith(t, (app) => app.get('/begun', (request, reply) => { reply.hijack().raw.writeHead(200).write('begun') }))
  const { port } = await wire(app)
  const socket = connect(port).setEncoding('utf8')
  socket.write('GET /begun HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const [first] = await once(socket, 'data')
  t.match(first, 'HTTP/1.1 200')
  socket.on('data', (more) => t.notMatch(more, 'HTTP/1.1')).write('hello\r\n\r\n')
  await once(socket, 'close')
})

test('a request that has its answer gets no second one, whatever becomes of its body', async (t) => {
  const app = await build(t)
  const { port } = await wire(app)
  Object.assign(app.server, { headersTimeout: 300, requestTimeout: 300 })
  const chunked = (line: string, type = 'application/json') => `${line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`
  const rests = [['a bad chunk', 'zz\r\n'], ['a body that never comes', '']] as const
  const table = [[chunked('POST /auth/logout'), 401], [chunked('POST /health'), 405], [chunked('OPTIONS /me'), 204], [chunked('POST /auth/login', 'text/plain'), 415], [chunked('POST /nothing'), 404], [chunked('GET /health'), 200]] as const
  await Promise.all(table.flatMap(([request, status]) => rests.map(async ([what, rest]) => {
    const socket = connect(port).setEncoding('utf8').on('error', () => {})
    socket.write(request)
    let answers = String(await once(socket, 'data'))
    socket.on('data', (more) => { answers += more }).write(rest)
    await once(socket, 'close')
    t.same([...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status)), [status], `${request} ${what}`)
  })))
})

test('nor does one that has its answer while another waits before it', async (t) => {
  const slow = Promise.withResolvers<string>()
  const app = await buildWith(t, (app) => app.get('/slow', async () => slow.promise))
  const { send } = await wire(app)
  const refused = once(app.server, 'clientError')
  const answers = send('GET /slow HTTP/1.1\r\nHost: a\r\n\r\nPOST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n', 'zz\r\n')
  await refused
  slow.resolve('done')
  const { statusCode, body } = await answers
  t.same([statusCode, ...[...body.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))], [200, 415])
})

test('a tunnel is not waited for that is asked for after answers that nobody reads', async (t) => {
  const app = await build(t, { REQUEST_TIMEOUT: '300' })
  const { port } = await wire(app)
  const socket = connect(port).on('error', () => {}).pause()
  t.teardown(() => socket.destroy())
  const asked = once(app.server, 'connect')
  socket.write('GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(10) + 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n')
  const [, ours] = await asked as [unknown, Socket]
  await once(ours, 'close')
  t.ok(ours.destroyed)
})

test('a client that breaks off leaves nothing behind', async (t) => {
  const app = await build(t)
  const { port, send } = await wire(app)
  for (const [request, event] of [['GET /heal', 'clientError'], ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 'connect']] as const) {
    const socket = connect(port)
    await once(socket, 'connect')
    const seen = once(app.server, event)
    socket.write(request, () => socket.resetAndDestroy())
    const [, ours] = await seen as [unknown, Socket]
    if (!ours.closed) await once(ours, 'close').catch(() => {})
    t.ok(ours.destroyed, request)
  }
  t.equal((await send(head('GET /health'))).statusCode, 200)
})

test('a client that keeps its half of the connection open does not hold up the stop', async (t) => {
  const app = await build(t)
  const { port } = await wire(app)
  const socket = connect({ port, allowHalfOpen: true })
  socket.write('CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket.resume(), 'end')
  await app.close()
  t.pass('closed')
  socket.destroy()
})

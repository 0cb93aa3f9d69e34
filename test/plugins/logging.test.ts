import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'tap'
import { loggerOptions, serializeError } from '../../plugins/logging/index.ts'
import { buildWith } from '../build-with.ts'
import { build, post, signUp } from '../helper.ts'
import { createLog } from '../log.ts'
import { head, wire } from '../wire.ts'
import type { FastifyInstance, InjectOptions } from 'fastify'

const INFO = { LOG_LEVEL: 'info' }
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

test('a request is one line, with the template of its route', async (t) => {
  const log = createLog()
  const app = await buildWith(t, (app) => app.get('/broken/:id', () => { throw new RangeError('boom') }), INFO, log)
  const { headers, user } = await signUp(app)
  const table: [request: InjectOptions, line: object][] = [
    [{ url: '/api' }, { level: 30, method: 'GET', route: '/api', statusCode: 200 }],
    [{ method: 'HEAD', url: '/api' }, { level: 30, method: 'HEAD', route: '/api', statusCode: 200 }],
    [{ url: '/me', headers }, { level: 30, route: '/me', statusCode: 200, userId: user.id }],
    [{ method: 'DELETE', url: '/me/sessions/x', headers }, { level: 30, route: '/me/sessions/:id', statusCode: 400, userId: user.id }],
    [{ url: '/me' }, { level: 30, route: '/me', statusCode: 401 }],
    [{ url: '/nothing/canary' }, { level: 30, route: null, statusCode: 404 }],
    [{ method: 'POST', url: '/health' }, { level: 30, method: 'POST', route: '/health', statusCode: 405 }],
    [{ method: 'OPTIONS', url: '/health' }, { level: 30, method: 'OPTIONS', route: '/health', statusCode: 204 }],
    [{ url: '/%zz' }, { level: 30, method: 'GET', route: null, statusCode: 400 }],
    [{ method: 'DELETE', url: `/me/sessions/${'x'.repeat(101)}` }, { level: 30, method: 'DELETE', route: null, statusCode: 414 }],
    [{ url: '/broken/canary' }, { level: 50, route: '/broken/:id', statusCode: 500, msg: 'request failed', err: { type: 'RangeError', message: 'boom', stack: /logging\.test/ } }]
  ]
  for (const [request, line] of table) {
    log.written.length = 0
    const { headers } = await app.inject(request)
    t.equal(log.lines.length, 1, JSON.stringify(request))
    t.match(log.lines[0], { ...line, requestId: headers['x-request-id'], correlationId: headers['x-correlation-id'] })
    t.notMatch(log.written.join(), 'canary', 'no path')
  }
  log.written.length = 0
  await post(app, '/auth/login', { email: 'nobody@example.com', password: 'x' })
  t.match(log.lines, [{ route: '/auth/login', statusCode: 401, msg: 'request', durationMs: Number }])
  t.ok((log.lines[0]?.durationMs as number) > 0)
})

test('the line of a request is the one that pino would write, letter for letter', async (t) => {
  const log = createLog()
  const app = await buildWith(t, (app) => app.get('/numbers/:n(^\\d+$)', async () => ''), INFO, log)
  const { headers } = await signUp(app)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  for (const request of [{ url: '/me', headers: { ...headers, traceparent } }, { url: '/numbers/7', headers: { 'x-correlation-id': 'a.b_c-d' } }, { url: '/nothing' }]) {
    log.written.length = 0
    await app.inject(request)
    const { level, time, pid, hostname, msg, ...fields } = log.lines[0]!
    app.log.info(fields, msg as string)
    const [ours, pinos] = log.written.map((line) => line.replace(/"time":\d+/, ''))
    t.equal(ours, pinos)
  }
})

test('whoever logs more in a request has a logger with its ids, a level and children', async (t) => {
  const log = createLog()
  const app = await buildWith(t, (app) => app.get('/chatty', async (request) => {
    request.log.info({ answer: 42 }, 'one line')
    request.log.child({ part: 'child' }).warn('another one')
    const before = request.log.level
    request.log.level = 'error'
    request.log.info('none')
    return before
  }), INFO, log)
  log.written.length = 0
  const { headers, body } = await app.inject({ url: '/chatty', headers: { 'x-correlation-id': 'c' } })

  t.equal(body, 'info')
  const ids = { requestId: headers['x-request-id'], correlationId: 'c' }
  t.match(log.lines, [
    { ...ids, level: 30, answer: 42, msg: 'one line' },
    { ...ids, level: 40, part: 'child', msg: 'another one' },
    { ...ids, level: 30, route: '/chatty', msg: 'request' }
  ])
  t.equal(log.lines.length, 3)
})

test('a good answer to a probe is a line at level debug alone', async (t) => {
  const log = createLog()
  const app = await build(t, { LOG_LEVEL: 'debug' }, { stream: log })
  for (const url of ['/health', '/ready', '/metrics']) {
    log.written.length = 0
    await app.inject(url)
    t.match(log.lines, [{ level: 20, msg: 'request', route: url, statusCode: 200 }])
  }
  app.health.drain()
  log.written.length = 0
  await app.inject('/ready')
  t.match(log.lines, [{ level: 30, msg: 'request', route: '/ready', statusCode: 503 }])
})

test('an id of the caller is taken if it is one, and replaced if not', async (t) => {
  const log = createLog()
  const app = await build(t, INFO, { stream: log })
  const ask = async (headers: Record<string, string | string[]>) => {
    log.written.length = 0
    const answer = await app.inject({ url: '/nothing', headers: headers as Record<string, string> })
    const { requestId, correlationId } = answer.json()
    t.match(answer.headers, { 'x-request-id': requestId, 'x-correlation-id': correlationId })
    t.match(log.lines, [{ requestId, correlationId }])
    return { requestId, correlationId }
  }
  for (const id of ['a', 'A.b_c-9', 'x'.repeat(128)]) {
    t.same(await ask({ 'x-request-id': id }), { requestId: id, correlationId: id })
    t.match(await ask({ 'x-correlation-id': id }), { requestId: UUID_V7, correlationId: id })
    t.same(await ask({ 'x-request-id': 'mine', 'x-correlation-id': id }), { requestId: 'mine', correlationId: id })
  }
  for (const id of ['', 'x'.repeat(129), 'a b', 'a,b', 'a/b', 'ä', '\u001b[31m', 'a\r\nb', '${jndi:x}', ['a', 'b']]) {  // eslint-disable-line no-template-curly-in-string
    const made = await ask({ 'x-request-id': id, 'x-correlation-id': id })
    t.match(made, { requestId: UUID_V7, correlationId: made.requestId })
  }
})

test('what a route logs has the ids of its request, and so does the line at its end', async (t) => {
  const log = createLog()
  const app = await buildWith(t, (app) => app.get('/talkative', async (request) => {
    request.log.warn({ step: 1 }, 'first')
    request.log.child({ part: 'inner' }).info('second')
    request.log.debug('unheard')
    return { level: request.log.level }
  }), INFO, log)
  await app.health.risen
  log.written.length = 0
  const answer = await app.inject('/talkative')
  const ids = { requestId: answer.headers['x-request-id'], correlationId: answer.headers['x-correlation-id'] }
  t.same(answer.json(), { level: 'info' })
  t.match(log.lines, [{ ...ids, level: 40, step: 1, msg: 'first' }, { ...ids, level: 30, part: 'inner', msg: 'second' }, { ...ids, level: 30, route: '/talkative', msg: 'request' }])
  for (const line of log.written) t.equal(line.match(/"requestId"/g)?.length, 1)
})

test('no input breaks a line, or colours it', async (t) => {
  const log = createLog()
  const app = await buildWith(t, (app) => app.get('/broken/*', (request) => { throw new Error(decodeURIComponent(request.url)) }), { LOG_LEVEL: 'trace' }, log)
  const evil = 'a\r\n{"level":60,"msg":"forged"}\u001b[2J\u0007\u0000'
  const { headers } = await signUp(app)
  for (const url of ['/me', '/nothing', `/broken/${encodeURIComponent(evil)}`, `/${encodeURIComponent(evil)}`]) {
    await app.inject({ url, headers: { ...headers, 'user-agent': evil, 'x-request-id': evil, 'x-forwarded-for': evil, referer: evil } })
  }
  await app.inject({ method: 'PATCH', url: '/me', headers, payload: { displayName: evil } })
  await post(app, '/auth/login', { email: evil, password: evil }, { 'user-agent': evil })
  t.ok(log.written.length >= 6)
  for (const text of log.written) t.match(text, /^\{[^\u0000-\u001f]+\}\n$/)   // eslint-disable-line no-control-regex
  t.ok(log.lines.every(({ msg }) => msg !== 'forged'))
})

test('what is refused before routing is one line too', async (t) => {
  const log = createLog()
  const { send } = await wire(await build(t, { ...INFO, MIGRATE_ON_START: 'true' }, { stream: log }))
  await log.line('migrated')
  const table: [request: string, statusCode: number, reason: string][] = [
    ['hello\r\n\r\n', 400, 'HPE_INVALID_METHOD'],
    [head('GET /', `X-A: ${'a'.repeat(17_000)}`), 431, 'HPE_HEADER_OVERFLOW'],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'see Allow'],
    [head('GET /', 'Expect: nothing'), 417, 'expectation']
  ]
  for (const [request, statusCode, reason] of table) {
    log.written.length = 0
    const { requestId } = JSON.parse((await send(request)).body)
    t.match(log.lines, [{ level: 30, msg: 'request refused before routing', statusCode, reason, requestId }])
    t.equal(log.lines.length, 1)
  }
})

for (const where of ['handler', 'hook'] as const) {
  test(`a client that leaves is a line, and what fails after that in a ${where} another one`, async (t) => {
    const log = createLog()
    const gate = Promise.withResolvers<void>()
    const routes = {
      handler: (app: FastifyInstance) => app.get('/slow', () => gate.promise),
      hook: (app: FastifyInstance) => app.get('/slow', { preHandler: () => gate.promise }, () => '')
    }
    const app = await buildWith(t, routes[where], INFO, log)
    const { port } = await wire(app)
    const socket = connect(port)
    socket.write('GET /slow HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n')
    await once(app.server, 'request')
    socket.destroy()
    t.match(await log.line('the client left'), { level: 30, route: '/slow', statusCode: 499, requestId: 'mine' })
    gate.reject(new Error('boom'))
    t.match(await log.line('failed after the request had ended'), { level: 50, requestId: 'mine', err: { message: 'boom' } })
    t.equal(log.lines.filter(({ requestId }) => requestId === 'mine').length, 2)
  })
}

test('secrets are redacted wherever they are logged by mistake', async (t) => {
  const log = createLog()
  const app = await build(t, INFO, { stream: log })
  const secrets = Object.fromEntries(['password', 'currentPassword', 'newPassword', 'refreshToken', 'accessToken', 'authorization', 'cookie', 'connectionString'].map((name) => [name, 'canary']))
  log.written.length = 0
  app.log.info({ ...secrets, body: secrets, request: { headers: secrets }, list: [secrets], bare: Object.assign(Object.create(null), secrets) }, 'by mistake')
  t.equal(log.written.join().match(/\[Redacted\]/g)?.length, 40)
  app.log.child(secrets).info('by mistake')
  t.equal(log.written.join().match(/\[Redacted\]/g)?.length, 48)
  app.log.info({ a: { b: { c: { d: secrets } } }, at: new Date(0), nothing: null }, 'by mistake')
  t.match(log.lines.at(-1), { a: { b: { c: { d: '[Redacted]' } } }, at: '1970-01-01T00:00:00.000Z', nothing: null }, 'nor is there anything so deep')
  t.notMatch(log.written.join(), 'canary')
})

test('an error is logged without what it quotes', async (t) => {
  const cause = new Error('inner', { cause: 'a text' })
  const table: [error: unknown, expected: object][] = [
    [Object.assign(new TypeError('outer', { cause }), { code: 'E', statusCode: 503 }), { type: 'TypeError', message: 'outer', stack: /TypeError: outer\n/, code: 'E', statusCode: 503, cause: { type: 'Error', message: 'inner' } }],
    [Object.assign(new Error('canary'), { severity: 'ERROR', code: '23505', detail: 'canary', where: 'canary', table: 'users', constraint: 'users_pkey', routine: 'r' }), { message: 'refused by PostgreSQL', code: '23505', table: 'users', constraint: 'users_pkey', routine: 'r', stack: '' }],
    [Object.assign(new Error('canary', { cause }), { severity: 'FATAL', code: '28P01' }), { code: '28P01', cause: { message: 'inner' } }],
    [new SyntaxError('Unexpected token, "canary" is not JSON'), { type: 'SyntaxError', message: 'a text could not be parsed', stack: '' }],
    [Object.assign(new Error('outer'), { stack: undefined }), { message: 'outer', stack: '' }],
    ['canary', { type: 'string', message: 'not an error' }],
    [null, { type: 'object' }],
    [undefined, { type: 'undefined' }],
    [{ message: 'canary' }, { type: 'object' }]
  ]
  for (const [error, expected] of table) {
    const logged = serializeError(error)
    t.match(logged, expected)
    t.notMatch(JSON.stringify(logged), 'canary')
  }
  t.notOk('cause' in serializeError(cause), 'what is no error is no cause')
})

test('people at a terminal get colours', async (t) => {
  const { config } = await build(t)
  t.match(loggerOptions(config, true).logger, { transport: { target: 'pino-pretty' } })
  t.notOk('transport' in loggerOptions(config, false).logger)
})

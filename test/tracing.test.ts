import { t as file } from 'tap'
import { eventually } from './eventually.ts'
import { bearer, databaseUrl, PASSWORD } from './helper.ts'
import { preload, ready, run, start } from './processes.ts'
import { startProxy } from './proxy.ts'
import { callsOf, startRedis } from './redis.ts'
import { SERVER_SPAN, startCollector, type SeenSpan } from './tracing/collector.ts'
import { ask, CALLER, env, lineOf, startTraced } from './tracing/traced.ts'

const ERROR = 2
const ACCOUNT = { email: 'traced@example.com', password: PASSWORD }
const HTTP = '@opentelemetry/instrumentation-http'
const FASTIFY = '@fastify/otel'
const PG = '@opentelemetry/instrumentation-pg'
const IOREDIS = '@opentelemetry/instrumentation-ioredis'

/** What a span is part of, from its caller on. */
function pathOf (span: SeenSpan, spans: SeenSpan[]): string {
  const parent = spans.find(({ spanId }) => spanId === span.parentSpanId)
  return `${parent ? pathOf(parent, spans) : span.parentSpanId ?? 'root'} > ${span.name}`
}

const redis = await startRedis(file)
const { collector, server, url } = await startTraced(file, { REDIS_URL: redis.url, OTEL_SERVICE_NAME: 'identity', OTEL_RESOURCE_ATTRIBUTES: 'team=accounts' })

file.test('a request is one trace, which its caller began: HTTP, Fastify, PostgreSQL and Redis', async (t) => {
  const registered = await ask(`${url}/auth/register`, { method: 'POST', body: ACCOUNT })
  t.equal(registered.status, 201)
  const spans = await collector.trace(registered.traceId)

  const paths = spans.map((span) => pathOf(span, spans))
  const handler = `${CALLER} > POST /auth/register > request > handler - register`
  for (const step of ['pg-pool.connect', 'BEGIN', 'INSERT users', 'COMMIT']) t.ok(paths.includes(`${handler} > ${step}`), step)
  t.ok(paths.some((path) => /^00f067aa0ba902b7 > POST \/auth\/register( > request)? > evalsha$/.test(path)), 'a limit')
  t.same([...new Set(spans.map(({ scope }) => scope))].sort(), [FASTIFY, HTTP, IOREDIS, PG])
  t.match(spans.find(({ kind }) => kind === SERVER_SPAN), { attributes: { 'http.request.method': 'POST', 'http.route': '/auth/register', 'http.response.status_code': 201 }, status: { code: 0 } })
  t.match(spans.find(({ name }) => name === 'INSERT users')?.attributes, { 'db.system.name': 'postgresql', 'db.query.text': /values \(\$1, \$2, \$3, \$4, \$5\)/ })
  t.match(spans.find(({ name }) => name === 'evalsha')?.attributes, { 'db.system.name': 'redis', 'db.query.text': 'evalsha' })
  t.match(spans[0]?.resource, { 'service.name': 'identity', 'service.version': /^\d+\.\d+\.\d+$/, 'deployment.environment.name': 'test', team: 'accounts', 'service.instance.id': String })

  await eventually(() => lineOf(server.stdout, registered.traceId))
  t.equal(lineOf(server.stdout, registered.traceId).span_id, spans.find(({ kind }) => kind === SERVER_SPAN)?.spanId, 'the line of the request has both ids')
})

file.test('a statement is named by what it is about', async (t) => {
  const { refreshToken } = (await (await fetch(`${url}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(ACCOUNT) })).json()) as { refreshToken: string }
  const refreshed = await ask(`${url}/auth/refresh`, { method: 'POST', body: { refreshToken } })
  t.equal(refreshed.status, 200)
  const spans = await collector.trace(refreshed.traceId)
  t.ok(spans.map((span) => pathOf(span, spans)).includes(`${CALLER} > POST /auth/refresh > request > handler - refresh > WITH sessions`))

  const loggedIn = await ask(`${url}/auth/login`, { method: 'POST', body: ACCOUNT })
  const together = (await collector.trace(loggedIn.traceId)).find(({ name }) => name === 'SELECT users; WITH users')
  t.match(together, { status: { code: 0 }, attributes: { 'db.query.text': /^select id from users .+; \s*with unchanged as .+ from unchanged$/s } })
})

file.test('spans are named by routes, whatever the path is, and probes have none', async (t) => {
  const { accessToken } = JSON.parse((await ask(`${url}/auth/login`, { method: 'POST', body: ACCOUNT })).text)
  const headers = bearer(accessToken)
  const probes = ['/health', '/ready', '/ready?verbose', '/metrics', '/docs', '/docs/json', '/docs/static/index.html']
  const unseen = await Promise.all(probes.map((path) => ask(url + path)))
  const table: [method: string, path: string, status: number, name: string][] = [
    ['POST', '/auth/login', 200, 'POST /auth/login'],
    ['GET', '/me', 200, 'GET /me'],
    ['GET', '/me/sessions', 200, 'GET /me/sessions'],
    ['DELETE', '/me/sessions/0198c0de-0000-7000-8000-000000000000', 404, 'DELETE /me/sessions/:id'],
    ['DELETE', '/me/sessions/xyzzy?x', 400, 'DELETE /me/sessions/:id'],
    ['PUT', '/auth/login', 405, 'PUT /auth/login'],
    ['GET', '/nothing/xyzzy', 404, 'GET'],
    ['GET', '/docsthatarenone', 404, 'GET'],
    ['GET', '/%zz', 400, 'GET']
  ]
  for (const [method, path, status, name] of table) {
    const answer = await ask(url + path, { method, headers, body: method === 'POST' ? ACCOUNT : undefined })
    t.equal(answer.status, status, path)
    const spans = await collector.trace(answer.traceId)
    t.equal(spans.find(({ kind }) => kind === SERVER_SPAN)?.name, name, path)
    t.notMatch(JSON.stringify(spans), /xyzzy|0198c0de/, 'no path')
    t.same(spans.filter(({ status }) => status.code === ERROR), [], 'what a client is refused is no error')
  }
  for (const { traceId } of unseen) t.same(collector.spans.filter((span) => span.traceId === traceId), [])
})

file.test('what is done in the background has no span, and a trace that begins here has one root', async (t) => {
  const begin = () => fetch(`${url}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json', traceparent: 'ff-no-trace' }, body: JSON.stringify(ACCOUNT) })
  const roots = () => collector.spans.filter(({ parentSpanId }) => !parentSpanId)
  await begin()
  // While Redis is checked on this often, PostgreSQL is asked for revocations more often still.
  const checks = () => callsOf(redis, 'eval')
  const before = await checks()
  await eventually(async () => await checks() > before + 3)
  await begin()
  await eventually(() => roots().length >= 2)

  t.same(roots().map(({ name }) => name), ['POST /auth/login', 'POST /auth/login'])
})

file.test('a caller that samples nothing gets no spans, and its trace is in the log', async (t) => {
  const unsampled = await ask(`${url}/auth/login`, { method: 'POST', body: { ...ACCOUNT, email: 'nobody@example.com' }, flags: '00' })
  await collector.trace((await ask(`${url}/auth/login`, { method: 'POST', body: ACCOUNT })).traceId)

  t.same(collector.spans.filter(({ traceId }) => traceId === unsampled.traceId), [])
  t.match(lineOf(server.stdout, unsampled.traceId), { route: '/auth/login', statusCode: 401, level: 30 })
  const probe = await ask(`${url}/docs/json`)
  await eventually(() => lineOf(server.stdout, probe.traceId))
  t.notOk('span_id' in lineOf(server.stdout, probe.traceId), 'that of a probe too')
})

file.test('a request that failed shows what failed, and the webhook that hears of it is part of it', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const receiver = await startCollector(t)
  const { collector, url } = await startTraced(t, { DATABASE_URL: proxy.url, ALERT_WEBHOOK_URL: `${receiver.url}/hooks/canary?canary` })
  await proxy.set('refuse')
  const failed = await ask(`${url}/auth/login`, { method: 'POST', body: ACCOUNT })
  t.equal(failed.status, 503)
  const spans = await collector.trace(failed.traceId)

  t.same(spans.filter(({ status }) => status.code === ERROR).map(({ name }) => name).sort(), ['POST /auth/login', 'pg-pool.connect', 'pg.connect', 'request'])
  t.match(spans.find(({ name }) => name === 'request'), { events: [{ name: 'exception', attributes: { 'exception.type': 'SERVICE_UNAVAILABLE' } }] })
  t.match(spans.find(({ name }) => name === 'pg.connect'), { events: [{ name: 'exception', attributes: { 'exception.message': /ECONNREFUSED/ } }] })
  await eventually(async () => {
    await ask(`${url}/auth/login`, { method: 'POST', body: ACCOUNT })
    return collector.spans.some(({ scope }) => scope === '@opentelemetry/instrumentation-undici')
  })
  const call = collector.spans.find(({ scope }) => scope === '@opentelemetry/instrumentation-undici')
  t.match(call, { name: 'POST', parentSpanId: String, attributes: { 'server.address': '127.0.0.1' } })
  t.notMatch(collector.bodies.join(), 'canary')
})

file.test('without a collector nothing of OpenTelemetry is loaded but its API, which the metrics bring, and an address that is none is a fault like others', async (t) => {
  const nosy = preload(`
    import { registerHooks } from 'node:module';
    registerHooks({ resolve (name, context, next) { if (/opentelemetry.(?!api$)|fastify\\/otel|\\/tracing[.]ts$/.test(name)) process.stderr.write(name + '\\n'); return next(name, context) } })`)
  const server = start(t, 'server.ts', [], { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: ' ' }, nosy)
  await ready(server)
  server.child.kill('SIGTERM')
  t.match(await server.ended, { code: 0, stderr: '' })

  const { code, stderr } = await run(t, 'server.ts', [], { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a b', DB_POOL_SIZE: 'many' }, nosy)
  t.equal(code, 1)
  t.match(stderr, /^The settings are not usable:\n.*- OTEL_EXPORTER_OTLP_ENDPOINT /s)
  t.match(stderr, 'DB_POOL_SIZE')
})

import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { build, post, signUp } from '../helper.ts'
import { head, wire } from '../wire.ts'
import type { FastifyInstance } from 'fastify'

const lines = async (app: FastifyInstance, pattern: RegExp) => (await app.metrics.expose()).text.split('\n').filter((line) => pattern.test(line))
const HTTP = /^http_/
const REQUESTS = /^http_requests_total\{.* [1-9]\d*$/

test('requests are counted by method, route template and status, and timed', async (t) => {
  const app = await build(t)
  const { headers, email } = await signUp(app)
  await app.inject({ url: '/me', headers })
  await app.inject({ url: '/me', headers })
  await app.inject('/me')
  await app.inject({ method: 'HEAD', url: '/health' })
  await post(app, '/auth/login', { email, password: 'not the password' })
  await app.inject({ method: 'DELETE', url: '/me/sessions/01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', headers })

  t.same((await lines(app, REQUESTS)).sort(), [
    'http_requests_total{method="DELETE",route="/me/sessions/:id",status="404"} 1',
    'http_requests_total{method="GET",route="/me",status="200"} 2',
    'http_requests_total{method="GET",route="/me",status="401"} 1',
    'http_requests_total{method="HEAD",route="/health",status="200"} 1',
    'http_requests_total{method="POST",route="/auth/login",status="401"} 1',
    'http_requests_total{method="POST",route="/auth/register",status="201"} 1'
  ])
  t.same((await lines(app, /^http_requests_total\{.*"\/auth\/.* 0$/)).sort(), ['login', 'logout', 'refresh', 'register'].flatMap((name) => [
    `http_requests_total{method="POST",route="/auth/${name}",status="500"} 0`, `http_requests_total{method="POST",route="/auth/${name}",status="503"} 0`
  ]), 'failures are counted from 0 on, or the first of them would be no rise')
  t.same(await lines(app, /^http_request_duration_seconds_(count|bucket\{le="12").*"\/me",status="200"/), [
    'http_request_duration_seconds_bucket{le="12",method="GET",route="/me",status="200"} 2',
    'http_request_duration_seconds_count{method="GET",route="/me",status="200"} 2'
  ])
  t.same((await lines(app, /^http_errors_total\{/)).sort(), [
    'http_errors_total{error_type="INVALID_CREDENTIALS"} 1', 'http_errors_total{error_type="NOT_FOUND"} 1', 'http_errors_total{error_type="UNAUTHORIZED"} 1'
  ])
})

test('ten thousand paths and every method there is add no series', async (t) => {
  const app = await build(t)
  const { send } = await wire(app)
  await app.inject('/nothing')
  await app.inject({ method: 'PURGE' as 'GET', url: '/me' })
  const before = (await lines(app, HTTP)).length

  for (let i = 0; i < 10_000; i++) await app.inject(`/${i.toString(36)}/nothing?${i}`)
  for (const method of app.supportedMethods) await send(head(`${method} /me`))
  const after = await lines(app, REQUESTS)
  t.ok(after.includes('http_requests_total{method="GET",route="unmatched",status="404"} 10001'))
  t.same(after.filter((line) => line.includes('method="other"')).map((line) => line.replace(/\d+$/, 'n')), ['http_requests_total{method="other",route="/me",status="405"} n'])
  // The seven methods that everybody knows have a line of the counter and 14 of the histogram, and one more code was met.
  t.ok((await lines(app, HTTP)).length <= before + 7 * 15 + 1, `${before} lines before`)
})

test('what the parser and the router refuse is counted too', async (t) => {
  const app = await build(t)
  const { send } = await wire(app)
  t.equal((await send('NONSENSE\r\n\r\n')).statusCode, 400)
  t.equal((await send(head('GET /%zz'))).statusCode, 400)
  t.equal((await send(head('GET /health', 'Expect: magic'))).statusCode, 417)
  t.same((await lines(app, REQUESTS)).sort(), [
    'http_requests_total{method="none",route="unmatched",status="400"} 2', 'http_requests_total{method="none",route="unmatched",status="417"} 1'
  ])
  t.same(await lines(app, /^http_errors_total\{/), ['http_errors_total{error_type="BAD_REQUEST"} 3'])
})

test('a client that leaves is counted as 499, and its connection no more', async (t) => {
  const app = await build(t)
  const { port } = await wire(app)
  const arrived = once(app.server, 'request')
  const socket = connect(port)
  socket.write('POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{')
  await arrived
  t.same(await lines(app, /^http_active_connections/), ['http_active_connections 1'])
  socket.destroy()
  await eventually(async () => (await lines(app, REQUESTS)).includes('http_requests_total{method="POST",route="/auth/login",status="499"} 1'))
  await eventually(async () => (await lines(app, /^http_active_connections/)).includes('http_active_connections 0'))
})

test('the documentation has routes of its own', async (t) => {
  const app = await build(t)
  await app.inject('/docs')
  await app.inject('/docs/json')
  await app.inject('/docs/nothing')
  t.same((await lines(app, REQUESTS)).sort(), [
    'http_requests_total{method="GET",route="/docs",status="200"} 1', 'http_requests_total{method="GET",route="/docs/*",status="200"} 1', 'http_requests_total{method="GET",route="/docs/*",status="404"} 1'
  ])
})

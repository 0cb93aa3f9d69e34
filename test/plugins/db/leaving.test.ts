import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, logIn, signUp, sql } from '../../helper.ts'
import { createLog } from '../../log.ts'
import { lock, waitFor } from './locks.ts'
import { isSound } from './pool.ts'
import type { FastifyInstance } from 'fastify'

type Request = { method: string, path: string, headers: { authorization: string }, body?: object }

const env = { DB_QUERY_TIMEOUT: '60000', DB_CONNECT_TIMEOUT: '60000', DB_POOL_SIZE: '4' }
const logged = { ...env, LOG_LEVEL: 'info' }
const NOTICED_MS = 3000
// What is cut is so 100 ms after the client has left.
const NOT_CUT_MS = 300
const UPDATE = 'select from users where id = $1 for update'
const rename = (displayName: string, headers: Request['headers']): Request => ({ method: 'PATCH', path: '/me', headers, body: { displayName } })

test('a client that leaves ends what is done for it in PostgreSQL, and nothing of it is left', async (t) => {
  const log = createLog()
  const app = await build(t, logged, { stream: log })
  const { user, headers } = await signUp(app)
  const unlock = await lock(t, UPDATE, [user.id])
  const leave = await ask(t, app, rename('Late', headers))
  await waitFor(1)
  leave()
  t.comment(`PostgreSQL has noticed after ${await waitFor(0, NOTICED_MS)} ms`)
  await unlock()
  t.same(await sql('select display_name as name from users where id = $1', [user.id]), [{ name: null }])
  t.match(await log.line('the client left'), { level: 30, route: '/me', statusCode: 499 })
  t.same(complaintsIn(log.lines), [])
  await isSound(t, app)
})

test('who leaves while others hold all connections leaves the queue as well', async (t) => {
  const app = await build(t, { ...env, DB_POOL_SIZE: '1' })
  const { user, headers } = await signUp(app)
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const holder = app.db.tx(() => released)
  const requests = await Promise.all([1, 2, 3].map((n) => ask(t, app, rename(`Late ${n}`, headers))))
  for (const leave of requests) leave()
  await eventually(async () => (await connectionsOf(app)) === 0)
  let acquired = 0
  app.pg.pool.on('acquire', () => acquired++)
  release()
  await holder
  await app.db.query('select 1')
  t.equal(acquired, 1, 'by nobody else')
  await isSound(t, app)
  t.same(await sql('select display_name as name from users where id = $1', [user.id]), [{ name: null }])
})

const outliving: Record<string, (session: string) => Omit<Request, 'headers'>> = {
  logout: () => ({ method: 'POST', path: '/auth/logout' }),
  'to sign one device out': (session) => ({ method: 'DELETE', path: `/me/sessions/${session}` }),
  'to sign all devices out': () => ({ method: 'DELETE', path: '/me/sessions?all=true' })
}
for (const [what, request] of Object.entries(outliving)) {
  test(`what was asked for is done although its client has left: ${what}`, async (t) => {
    const log = createLog()
    const app = await build(t, logged, { stream: log })
    const { user, headers } = await signUp(app)
    const [session] = await sql<{ id: string }>('select id from sessions where user_id = $1', [user.id])
    const unlock = await lock(t, 'select from sessions where user_id = $1 for update', [user.id])
    const leave = await ask(t, app, { ...request(session!.id), headers })
    await waitFor(1)
    const cut = once(app.pg.pool, 'remove')
    leave()
    await log.line('the client left')
    t.equal(await Promise.race([cut, delay(NOT_CUT_MS, 'not cut')]), 'not cut')
    await unlock()
    await eventually(async () => (await app.inject({ url: '/me', headers })).statusCode === 401)
    t.same(await sql('select from sessions where user_id = $1 and revoked_at is null', [user.id]), [])
    t.same(await sql('select from revocations where session_id = $1', [session!.id]), [{}])
    t.same(complaintsIn(log.lines), [])
  })
}

test('a stolen refresh token is found out although the thief has left', async (t) => {
  const app = await build(t, { ...env, REFRESH_GRACE_SECONDS: '0' })
  const { user, headers, refreshToken } = await signUp(app)
  t.equal((await app.inject({ method: 'POST', url: '/auth/refresh', payload: { refreshToken } })).statusCode, 200)
  const unlock = await lock(t, 'lock table sessions')
  const leave = await ask(t, app, { method: 'POST', path: '/auth/refresh', headers, body: { refreshToken } })
  await waitFor(1)
  const cut = once(app.pg.pool, 'remove')
  leave()
  t.equal(await Promise.race([cut, delay(NOT_CUT_MS, 'not cut')]), 'not cut')
  await unlock()
  await eventually(async () => (await app.inject({ url: '/me', headers })).statusCode === 401)
  t.same(await sql('select revoked_reason as reason from sessions where user_id = $1', [user.id]), [{ reason: 'reuse detected' }])
})

test('who joined the read of a client that has left is answered well', async (t) => {
  const app = await build(t, env)
  const { email, headers } = await signUp(app)
  const others = await Promise.all([1, 2, 3].map(() => logIn(app, email)))
  const unlock = await lock(t, 'lock table users')
  const leave = await ask(t, app, { method: 'GET', path: '/me', headers })
  await waitFor(1)
  let joined = 0
  const count = () => joined++
  subscribe('tracing:fastify.request.handler:start', count)
  t.teardown(() => unsubscribe('tracing:fastify.request.handler:start', count))
  const answers = Promise.all(others.map(({ headers }) => app.inject({ url: '/me', headers })))
  await eventually(() => joined === others.length)
  leave()
  await unlock()
  for (const answer of await answers) t.match(answer, { statusCode: 200 })
  t.equal(app.cache.counts.miss, 1)
  await isSound(t, app)
})

/** The feed reads in the background, where a busy machine may well keep it waiting for a second. */
function complaintsIn (lines: ReturnType<typeof createLog>['lines']) {
  return lines.filter(({ level, msg }) => level > 30 && !msg.startsWith('the revocation feed'))
}

/** Sends a request, and answers how to leave. */
async function ask (t: Test, app: FastifyInstance, { method, path, headers, body = {} }: Request) {
  if (!app.server.listening) await app.listen({ port: 0 })
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {})
  t.teardown(() => socket.destroy())
  const json = JSON.stringify(body)
  const arrived = new Promise((resolve) => app.server.once('request', resolve))
  const lines = [`${method} ${path} HTTP/1.1`, 'Host: localhost', `Authorization: ${headers.authorization}`, 'Content-Type: application/json', `Content-Length: ${json.length}`]
  socket.write(`${lines.join('\r\n')}\r\n\r\n${json}`)
  await arrived
  return () => socket.resetAndDestroy()
}

async function connectionsOf ({ server }: FastifyInstance) {
  return new Promise<number>((resolve, reject) => server.getConnections((error, count) => error ? reject(error) : resolve(count)))
}

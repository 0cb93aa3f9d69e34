import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, PASSWORD, post, signUp } from '../../helper.ts'
import { createLog } from '../../log.ts'
import { isProblem } from '../../problem.ts'
import { startProxy } from '../../proxy.ts'
import { lock } from './locks.ts'
import type { FastifyInstance } from 'fastify'

const CALLS = 40
const stateOf = ({ breakers }: FastifyInstance) => breakers.stateOf('database')
const times = <Result>(count: number, act: (i: number) => Promise<Result>) => Promise.all(Array.from({ length: count }, (_, i) => act(i)))
const failure = (act: Promise<unknown>) => act.then(() => undefined, (error: unknown) => error as Error & { code?: string, cause?: { code?: string } })

test('a PostgreSQL that refuses is asked no more after a while, which is told once, and answered for within 20 ms', async (t) => {
  const log = createLog()
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { DATABASE_URL: proxy.url, LOG_LEVEL: 'info' }, { stream: log })
  const { email } = await signUp(app)
  const login = () => post(app, '/auth/login', { email, password: PASSWORD })
  t.match((await app.inject('/status')).json(), { dependencies: { database: { status: 'up', breaker: 'closed' } } })

  await proxy.set('refuse')
  for (let i = 0; stateOf(app) === 'closed' && i < CALLS; i++) isProblem(t, await login(), 503, 'SERVICE_UNAVAILABLE')
  t.hasStrict((await app.inject('/status')).json(), { dependencies: { database: { breaker: 'open' } } })
  const tookMs: number[] = []
  for (let i = 0; i < CALLS; i++) {
    const startedAt = performance.now()
    t.equal((await login()).statusCode, 503)
    tookMs.push(performance.now() - startedAt)
  }
  const median = tookMs.sort((a, b) => a - b)[CALLS / 2]!
  t.ok(median <= 20, `answered in ${median.toFixed(1)} ms`)
  t.match(await log.line('breaker opened'), { level: 50, breaker: 'database', err: { cause: { code: 'ECONNREFUSED' } } })

  const backAt = performance.now()
  await proxy.set('pass')
  await eventually(async () => (await login()).statusCode === 200)
  const backMs = Math.round(performance.now() - backAt)
  t.ok(backMs <= 5000, `good again after ${backMs} ms`)
  t.equal(stateOf(app), 'closed')
  t.match(await log.line('breaker closed'), { level: 30, breaker: 'database' })
  for (const what of ['breaker opened', 'breaker closed']) t.equal(log.lines.filter(({ msg }) => msg === what).length, 1, what)
})

test('that it is back is seen by the checks, though nobody asks', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { DATABASE_URL: proxy.url })
  await proxy.set('refuse')
  await times(CALLS, () => failure(app.db.query('select 1')))
  t.ok(await failure(app.db.check('select 1')))
  t.equal(stateOf(app), 'open')
  await proxy.set('pass')
  await app.db.check('select 1')
  t.equal(stateOf(app), 'closed')
  t.same(await app.db.query('select 1 as n'), [{ n: 1 }])
})

test('what clients do wrong never opens it', async (t) => {
  const app = await build(t, { DB_CONNECT_TIMEOUT: '60000' })
  const { email, headers } = await signUp(app)
  const wrongs: Record<string, [status: number, act: () => Promise<{ statusCode: number }>]> = {
    'a taken e-mail address': [409, () => post(app, '/auth/register', { email, password: PASSWORD })],
    'a wrong password': [401, () => post(app, '/auth/login', { email, password: 'wrong horse battery staple' })],
    'a wrong e-mail address': [401, () => post(app, '/auth/login', { email: 'nobody@example.com', password: PASSWORD })],
    'what does not fit the schema': [400, () => post(app, '/auth/login', { email: 1 })],
    'a refresh token that is none': [401, () => post(app, '/auth/refresh', { refreshToken: 'rt1.x' })],
    'a version that is gone': [412, () => app.inject({ method: 'PATCH', url: '/me', headers: { ...headers, 'if-match': '"gone"' }, payload: { displayName: 'A' } })],
    'no such session': [404, () => app.inject({ method: 'DELETE', url: '/me/sessions/01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', headers })]
  }
  for (const [what, [status, act]] of Object.entries(wrongs)) {
    t.same([...new Set((await times(CALLS, act)).map(({ statusCode }) => statusCode))], [status], what)
    t.equal(stateOf(app), 'closed', what)
  }
})

test('nor does what PostgreSQL refuses, or what we do wrong ourselves', async (t) => {
  const app = await build(t, { DB_CONNECT_TIMEOUT: '60000' })
  const insert = () => app.db.query('insert into revocations (id, session_id) overriding system value values (1, gen_random_uuid())')
  await insert()
  t.same([...new Set((await times(CALLS, () => failure(insert()))).map((error) => error?.code))], ['23505'])
  await times(CALLS, () => failure(app.db.query('select 1 / 0')))
  await times(CALLS, () => failure(app.db.tx(async () => { throw new TypeError('a mistake') })))
  t.equal(stateOf(app), 'closed')
})

test('load is no outage: who waits in vain for a connection does not open it, and the checks have their own', async (t) => {
  const app = await build(t, { DB_POOL_SIZE: '3', DB_CONNECT_TIMEOUT: '1500' })
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const holders = [1, 2, 3].map(() => app.db.tx(() => released))
  t.match(await times(CALLS, () => failure(app.db.query('select 1'))), Array(CALLS).fill({ code: 'SERVICE_UNAVAILABLE', reason: 'no slot was free within 1500 ms' }))
  t.equal(stateOf(app), 'closed')
  for (let i = 0; i < 4; i++) await app.health.checkNow()
  t.match(await app.inject('/ready'), { statusCode: 200 })
  release()
  await Promise.all(holders)
  t.same(await app.db.query('select 1 as n'), [{ n: 1 }])
})

test('locks that nobody releases open it, and it tries again by itself', async (t) => {
  const app = await build(t, { DB_QUERY_TIMEOUT: '500' })
  const unlock = await lock(t, 'lock table users')
  const errors = await times(CALLS, () => failure(app.db.query('select from users')))
  t.ok(errors.some((error) => error?.cause?.code === '55P03'))
  t.equal(stateOf(app), 'open')
  await unlock()
  await app.db.check('select 1')
  t.equal(stateOf(app), 'open', 'that there is a PostgreSQL says nothing of the locks')
  t.comment(`tried again after ${await eventually(() => app.db.query('select from users').then(() => true, () => false), 5000)} ms`)
  t.equal(stateOf(app), 'closed')
})

import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { aborted } from '../../aborted.ts'
import { buildWith } from '../../build-with.ts'
import { build, logIn, PASSWORD, signUp, sql } from '../../helper.ts'
import { isProblem } from '../../problem.ts'
import { lock, waitFor } from './locks.ts'
import { isSound } from './pool.ts'

const LONGEST_MS = 1000
// A timer counts from the turn in which it is set.
const CLOCK_MS = 20
// PostgreSQL itself would wait for much longer.
const env = { REQUEST_TIMEOUT: String(LONGEST_MS), DB_QUERY_TIMEOUT: '60000', DB_CONNECT_TIMEOUT: '60000', DB_POOL_SIZE: '4' }
// It looks every 500 ms whether somebody is there.
const NOTICED_MS = 3000
const UPDATE = 'select from users where id = $1 for update'

test('a request whose time is over is answered, and what it waits for in PostgreSQL ends soon and is not done', async (t) => {
  const app = await build(t, env)
  const { user, headers } = await signUp(app)
  const unlock = await lock(t, UPDATE, [user.id])
  const startedAt = performance.now()
  const answer = app.inject({ method: 'PATCH', url: '/me', payload: { displayName: 'Late' }, headers })
  await waitFor(1)
  isProblem(t, await answer, 503, 'SERVICE_UNAVAILABLE')
  const tookMs = Math.round(performance.now() - startedAt)
  t.ok(tookMs >= LONGEST_MS - CLOCK_MS && tookMs < LONGEST_MS + 1000, `answered after ${tookMs} ms`)
  t.comment(`PostgreSQL has noticed after another ${await waitFor(0, NOTICED_MS)} ms`)
  await unlock()
  t.same(await sql('select display_name as name from users where id = $1', [user.id]), [{ name: null }])
  await isSound(t, app)
})

test('so it is in the midst of a transaction, of which nothing is left', async (t) => {
  const app = await build(t, env)
  const { user, email, headers, accessToken } = await signUp(app)
  await logIn(app, email)
  const unlock = await lock(t, 'select from sessions where user_id = $1 for update', [user.id])
  const answer = app.inject({ method: 'PUT', url: '/me/password', payload: { currentPassword: PASSWORD, newPassword: 'another battery staple' }, headers })
  await waitFor(1)
  isProblem(t, await answer, 503, 'SERVICE_UNAVAILABLE')
  await waitFor(0, NOTICED_MS)
  await unlock()
  t.ok(accessToken && await logIn(app, email), 'with the password of before')
  t.same(await sql('select epoch from users where id = $1', [user.id]), [{ epoch: 0 }])
  await isSound(t, app)
})

test('many that wait leave nothing behind, nor do those that wait for them', async (t) => {
  const app = await build(t, env)
  const { user, headers } = await signUp(app)
  await isSound(t, app)
  const unlock = await lock(t, UPDATE, [user.id])
  const answers = Promise.all(Array.from({ length: 30 }, () => app.inject({ method: 'PATCH', url: '/me', payload: { displayName: 'Late' }, headers })))
  await waitFor(4)
  t.same([...new Set((await answers).map(({ statusCode }) => statusCode))], [503])
  await waitFor(0, NOTICED_MS)
  await unlock()
  t.same(await sql('select display_name as name from users where id = $1', [user.id]), [{ name: null }])
  await isSound(t, app)
})

test('who waits for a connection until the time is over does not get one any more', async (t) => {
  const app = await build(t, { ...env, DB_POOL_SIZE: '1' })
  const { user, headers } = await signUp(app)
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const holder = app.db.tx(() => released)
  const startedAt = performance.now()
  isProblem(t, await app.inject({ method: 'PATCH', url: '/me', payload: { displayName: 'Late' }, headers }), 503, 'SERVICE_UNAVAILABLE')
  t.ok(performance.now() - startedAt < LONGEST_MS + 1000)
  let acquired = 0
  app.pg.pool.on('acquire', () => acquired++)
  release()
  await holder
  await app.db.query('select 1')
  t.equal(acquired, 1, 'by nobody else')
  await isSound(t, app)
  t.same(await sql('select display_name as name from users where id = $1', [user.id]), [{ name: null }])
})

test('a transaction whose time is over between two statements is taken back', async (t) => {
  const app = await buildWith(t, (app) => app.get('/between', async ({ deadline }) => app.db.tx(async (tx) => {
    await tx.query('insert into revocations (session_id) values (gen_random_uuid())')
    await aborted(deadline)
    await tx.query('select 1')
  })), { ...env, DB_POOL_SIZE: '1' })
  isProblem(t, await app.inject('/between'), 503, 'SERVICE_UNAVAILABLE')
  await isSound(t, app)
  t.same(await sql('select from revocations'), [])
})

test('nor is it committed when the time is over with its last statement', async (t) => {
  const app = await buildWith(t, (app) => app.get('/last', async ({ deadline }) => app.db.tx(async (tx) => {
    await tx.query('insert into revocations (session_id) values (gen_random_uuid())')
    await aborted(deadline)
  })), { ...env, DB_POOL_SIZE: '1' })
  isProblem(t, await app.inject('/last'), 503, 'SERVICE_UNAVAILABLE')
  await isSound(t, app)
  t.same(await sql('select from revocations'), [])
})

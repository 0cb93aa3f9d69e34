import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, logIn, post, signUp } from '../../helper.ts'
import { createLog } from '../../log.ts'
import { startProxy } from '../../proxy.ts'
import { connected, startRedis } from '../../redis.ts'
import type { FastifyInstance } from 'fastify'

const CALLS = 40
const SILENT_FOR_MS = 2000
const SOONER_THAN_A_TRIAL_MS = 1500
const OPEN = { code: 'SERVICE_UNAVAILABLE', reason: 'the breaker of redis is open' }
const stateOf = ({ breakers }: FastifyInstance) => breakers.stateOf('redis')
const get = (app: FastifyInstance) => app.fastPath!.run((redis) => redis.get('key'))

test('a Redis that falls silent is asked no more within 2 s, though there are no requests, and the service goes on', async (t) => {
  const log = createLog()
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url, LOG_LEVEL: 'info' }, { stream: log })
  await connected(app)
  t.match((await app.inject('/status')).json(), { dependencies: { redis: { breaker: 'closed' } } })

  process.kill(redis.pid, 'SIGSTOP')
  t.comment(`open after ${await eventually(() => stateOf(app) === 'open', SILENT_FOR_MS)} ms`)
  t.match(await log.line('breaker opened'), { level: 50, breaker: 'redis', err: { message: 'no answer from Redis within 150 ms' } })
  t.hasStrict((await app.inject('/status')).json(), { dependencies: { redis: { breaker: 'open' } } })
  const tookMs: number[] = []
  for (let i = 0; i < CALLS; i++) {
    const startedAt = performance.now()
    await t.rejects(get(app), OPEN)
    tookMs.push(performance.now() - startedAt)
  }
  const median = tookMs.sort((a, b) => a - b)[CALLS / 2]!
  t.ok(median <= 20, `refused in ${median.toFixed(1)} ms`)
  await goesOn(app)

  process.kill(redis.pid, 'SIGCONT')
  t.comment(`closed after ${await eventually(() => stateOf(app) === 'closed', 5000)} ms`)
  t.equal(await get(app), null)
  t.match(await log.line('breaker closed'), { level: 30, breaker: 'redis' })
  for (const what of ['breaker opened', 'breaker closed']) t.equal(log.lines.filter(({ msg }) => msg === what).length, 1, what)
})

test('that one falls silent is noticed as soon where PostgreSQL is away too', async (t) => {
  const redis = await startRedis(t)
  const way = await startProxy(t, databaseUrl)
  const app = await build(t, { REDIS_URL: redis.url, DATABASE_URL: way.url })
  await connected(app)
  await way.set('refuse')
  await eventually(() => !app.revocations.isFresh())
  process.kill(redis.pid, 'SIGSTOP')
  t.comment(`open after ${await eventually(() => stateOf(app) === 'open', SILENT_FOR_MS)} ms`)
})

test('that it answers again is seen by the checks, before anybody tries', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url })
  await connected(app)
  process.kill(redis.pid, 'SIGSTOP')
  await eventually(() => get(app).then(() => false, ({ reason }) => reason === OPEN.reason))
  await app.health.checkNow()
  process.kill(redis.pid, 'SIGCONT')
  const check = () => app.health.checkNow().then(() => stateOf(app) === 'closed')
  await eventually(check, SOONER_THAN_A_TRIAL_MS)
})

test('one that is restarted is asked again as soon as there is a connection', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url })
  await connected(app)
  await redis.kill()
  await eventually(() => get(app).then(() => false, ({ reason }) => reason === OPEN.reason))
  await goesOn(app)
  const stateWhenReady = new Promise((resolve) => app.redis.once('ready', () => resolve(stateOf(app))))
  await redis.restart()
  t.equal(await stateWhenReady, 'closed')
  t.equal(await get(app), null)
})

/** All that clients want, without Redis. */
async function goesOn (app: FastifyInstance) {
  const { email, headers, refreshToken } = await signUp(app)
  await logIn(app, email)
  const answers = [await app.inject({ url: '/me', headers }), await post(app, '/auth/refresh', { refreshToken }), await post(app, '/auth/logout', {}, headers)]
  const statuses = answers.map(({ statusCode }) => statusCode).join()
  if (statuses !== '200,200,204') throw new Error(`answered ${statuses}`)
}

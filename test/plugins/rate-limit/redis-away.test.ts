import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { test, type Test } from 'tap'
import { createSharedLog } from '../../../plugins/rate-limit/shared-log.ts'
import { SlidingLog } from '../../../plugins/rate-limit/sliding-log.ts'
import { eventually } from '../../eventually.ts'
import { build, PASSWORD, signUp } from '../../helper.ts'
import { startProxy, type Mode } from '../../proxy.ts'
import { callsOf, connected, startRedis, type RedisServer } from '../../redis.ts'
import type { FastifyInstance } from 'fastify'

const MAX = 10
const REPLICAS = 2
const DEADLINE_MS = 150
const MARGIN_MS = 850
const DELAY_MS = 400
// Each asks Redis once: the address, what login looks at, and what it takes.
const DECISIONS_OF_A_LOGIN = 5
const CLIENT = '203.0.113.2'
const ENV = { RATE_LIMIT_MAX: String(MAX), RATE_LIMIT_LOGIN_MAX: '1' }

const isUp = (app: FastifyInstance) => app.health.report().redis?.status === 'up'

async function start (t: Test, env: Record<string, string>) {
  const redis = await startRedis(t)
  const ways = await Promise.all(Array.from({ length: REPLICAS }, () => startProxy(t, redis.url)))
  const apps = await Promise.all(ways.map(({ url }) => build(t, { ...env, REDIS_URL: url })))
  await eventually(() => apps.every(isUp))
  return { redis, apps, set: (mode: Mode) => Promise.all(ways.map((way) => way.set(mode, DELAY_MS))) }
}

type World = Awaited<ReturnType<typeof start>>
const pass = ({ set }: World) => set('pass')
type Troubles = Record<string, [begin: (world: World) => Promise<unknown>, end: (world: World) => Promise<unknown>]>
const UNANSWERED: Troubles = {
  refuses: [({ set }) => set('refuse'), pass],
  resets: [({ set }) => set('reset'), pass],
  'is silent': [({ set }) => set('swallow'), pass],
  'is slow': [({ set }) => set('delay'), pass]
}
// It says so, and what it says is late on a busy machine.
const PATIENT = { REDIS_COMMAND_TIMEOUT: '5000' }
const ANSWERED: Troubles = {
  'is full': [({ redis }) => redis.admin.config('SET', 'maxmemory', '1'), ({ redis }) => redis.admin.config('SET', 'maxmemory', '0')],
  'is a replica': [({ redis }) => redis.admin.replicaof('127.0.0.1', 1), ({ redis }) => redis.admin.replicaof('NO', 'ONE')]
}

const ask = async (app: FastifyInstance, remoteAddress = '203.0.113.1') => (await app.inject({ url: '/api', remoteAddress })).statusCode

const logIn = async (app: FastifyInstance, email: string, password = PASSWORD) =>
  (await app.inject({ method: 'POST', url: '/auth/login', remoteAddress: CLIENT, payload: { email, password } })).statusCode

for (const [what, [begin, end]] of Object.entries({ ...UNANSWERED, ...ANSWERED })) {
  test(`where Redis ${what} each replica counts by itself: never without limit, never with a failure, and soon`, async (t) => {
    const world = await start(t, what in ANSWERED ? { ...ENV, ...PATIENT } : ENV)
    const { apps } = world
    const { email } = await signUp(apps[0]!)
    const statuses = new Set<number>()
    const rush = async () => {
      const all = await Promise.all(Array.from({ length: 4 * MAX * REPLICAS }, (_, i) => ask(apps[i % REPLICAS]!)))
      for (const status of all) statuses.add(status)
      return all.filter((status) => status === 200).length
    }
    const before = await rush()
    await begin(world)

    const startedAt = performance.now()
    t.equal(await ask(apps[0]!, '203.0.113.3'), 200)
    const askedAt = performance.now()
    t.equal(await logIn(apps[0]!, email), 200)
    const loggedInAt = performance.now()
    t.ok(askedAt - startedAt < DEADLINE_MS + MARGIN_MS)
    t.ok(loggedInAt - askedAt < DECISIONS_OF_A_LOGIN * DEADLINE_MS + MARGIN_MS)
    t.comment(`a request took ${Math.round(askedAt - startedAt)} ms, a login ${Math.round(loggedInAt - askedAt)} ms`)

    const passed = before + await rush()
    t.ok(passed >= MAX && passed <= (REPLICAS + 1) * MAX, `${before} and ${passed - before} passed`)
    t.equal(await rush(), 0)
    t.same([...statuses].sort(), [200, 429])

    t.equal(await logIn(apps[0]!, email), 200, 'what succeeds is given back')
    t.same([await logIn(apps[0]!, email, 'wrong'), await logIn(apps[0]!, email)], [401, 429])

    await end(world)
    // What it refused may have opened the breaker, and ends a connection, even where nobody asked but the revocations were to be written.
    await eventually(() => apps.every((app) => isUp(app) && app.breakers.stateOf('redis') === 'closed'))
    await Promise.all(apps.map(connected))
    t.equal(await rush(), 0, 'and the shared log goes on where it was')
  })
}

test('a Redis that is full is given nothing more to keep, and takes revocations at once', async (t) => {
  const { redis, apps: [app] } = await start(t, PATIENT)
  const local = new SlidingLog()
  const log = createSharedLog(app!.fastPath!, local)
  const take = (value: string, windowMs = 600_000) => log.take({ dimension: 'account', value, id: 1 }, windowMs, 5)
  await take('old')
  await redis.admin.config('SET', 'maxmemory', '1')
  const others = Array.from({ length: 30 }, (_, i) => `new ${i}`)
  await Promise.all([take('old', 1), ...others.map((value) => take(value))])      // the old slot is free, so that its removal is written before the others
  t.equal(local.size, others.length + 1)
  t.same((await slots(redis)).filter(([key]) => key.includes('{account:')).map(([, count]) => count), [1])

  t.equal(app!.breakers.stateOf('redis'), 'closed')
  const id = randomUUID()
  app!.revocations.announce([id])
  await eventually(async () => (await redis.admin.keys('*')).some((key) => key.endsWith(id)))
  await redis.admin.config('SET', 'maxmemory', '0')
})

test('without Redis too a success ends the row of failures of its account, and who has none left is refused unread', async (t) => {
  const { apps: [app], set } = await start(t, { RATE_LIMIT_ACCOUNT_MAX: '2', RATE_LIMIT_LOGIN_ADDRESS_MAX: '3' })
  const { email } = await signUp(app!)
  await set('refuse')
  const statuses = []
  for (const password of ['wrong', PASSWORD, 'wrong', 'wrong', PASSWORD]) statuses.push(await logIn(app!, email, password))
  t.same(statuses, [401, 200, 401, 401, 429])
  t.equal((await app!.inject({ method: 'POST', url: '/auth/login', remoteAddress: CLIENT, payload: {} })).statusCode, 429)
})

test('a success while Redis is away ends the row of failures that Redis has of its account, once it is back', async (t) => {
  const world = await start(t, { RATE_LIMIT_ACCOUNT_MAX: '3' })
  const { redis, apps: [app, other], set } = world
  const { email } = await signUp(app!)
  const row = async () => (await slots(redis)).find(([key]) => key.includes('{account:'))?.[1]
  t.same([await logIn(app!, email, '1'), await logIn(app!, email, '2')], [401, 401])
  t.equal(await row(), 2)
  await set('refuse')
  t.equal(await logIn(app!, email), 200)
  await set('pass')
  await eventually(() => [app!, other!].every((each) => isUp(each) && each.breakers.stateOf('redis') === 'closed'))
  await Promise.all([app!, other!].map(connected))
  t.equal(await logIn(other!, email, '3'), 401, 'counted meanwhile')

  await eventually(async () => await ask(app!) === 200 && await row() === 1)
  t.same([await logIn(other!, email, '4'), await logIn(other!, email, '5'), await logIn(other!, email)], [401, 401, 429])
})

test('of what is to be cleared once Redis is back 10 000 rows are remembered, and the oldest goes first', async (t) => {
  const { redis, apps: [app], set } = await start(t, {})
  const log = createSharedLog(app!.fastPath!, new SlidingLog())
  const slot = (value: string | number) => ({ dimension: 'account', value: String(value), id: 0 })
  const left = async (value: string) => (await slots(redis)).some(([key]) => key.endsWith(`{account:${value}}`))
  for (const value of ['first', 'last']) await log.take(slot(value), 600_000, 5)
  await set('refuse')
  await eventually(() => !isUp(app!))
  for (const value of ['first', ...Array(9_999).keys(), 'last']) log.clear(slot(value))
  await set('pass')
  await connected(app!)

  for (let i = 0; i < 100; i++) await log.look(slot('any'), 600_000, 5)
  await eventually(async () => !await left('last'))
  t.ok(await left('first'))
})

for (const mode of ['swallow', 'delay'] as const) {
  test(`${mode}: a slot that was taken in Redis, whose answer came too late, is given back once`, async (t) => {
    const { redis, apps: [app], set } = await start(t, { RATE_LIMIT_LOGIN_MAX: '3' })
    const { email } = await signUp(app!)
    const login = async () => (await slots(redis)).find(([key]) => key.includes('{login:'))?.[1]
    t.same([await logIn(app!, email, '1'), await logIn(app!, email, '2')], [401, 401])
    await eventually(async () => await login() === 2)
    await set(mode)
    t.equal(await logIn(app!, email), 200)
    await set('pass')
    await eventually(async () => await callsOf(redis, 'zrem') === 3)

    t.equal(await login(), 2)
    t.notOk((await slots(redis)).some(([key]) => key.includes('{account:')))
  })
}

async function slots ({ admin }: RedisServer) {
  const keys = await admin.keys('microts:limit:*')
  return Promise.all(keys.map(async (key) => [key, await admin.zcard(key)] as const))
}

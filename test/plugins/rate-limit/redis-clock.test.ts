import { setImmediate as turnEnd } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { createSharedLog } from '../../../plugins/rate-limit/shared-log.ts'
import { SlidingLog } from '../../../plugins/rate-limit/sliding-log.ts'
import { eventually } from '../../eventually.ts'
import { build, settings } from '../../helper.ts'
import { ready, start } from '../../processes.ts'
import { connected, startRedis, type RedisServer } from '../../redis.ts'
import type { Redis } from 'ioredis'

const PATIENT = { REDIS_COMMAND_TIMEOUT: '30000' }
const CLOCK = "{ 0, redis.call('get', 'clock') }"
const SECOND_US = 1_000_000
const NAMES = ['a', 'b', 'c']
const DAY_MS = 86_400_000
const DAY_US = DAY_MS * 1000
const KEY = 'microts:limit:{address:a}'

const slot = (id: number) => ({ dimension: 'address', value: 'a', id })

const microseconds = ([seconds, rest]: number[]) => Number(seconds) * SECOND_US + Number(rest)
const timeOf = async ({ admin }: RedisServer) => microseconds(await admin.time())

/** One replica's log in this Redis. */
async function replica (t: Test, redis: RedisServer, options: Parameters<typeof createSharedLog>[2] = {}) {
  const app = await build(t, { ...PATIENT, REDIS_URL: redis.url })
  await connected(app)
  const local = new SlidingLog()
  const log = createSharedLog(app.fastPath!, local, options)
  return { log, local, run: app.fastPath!.run }
}

/** Asks without a pause until so many slots are taken; with each question it notes the clock of Redis, before and after. */
async function hammer ({ log, run }: Awaited<ReturnType<typeof replica>>, who: string, max: number, windowMs: number, taken: number[], enough: number) {
  const time = () => run(async (redis) => microseconds(await (redis as Redis).time()))
  const asked = []
  for (let i = 0; taken.length < enough; i++) {
    const first = [time(), log.take(slot(i), windowMs, max)] as const
    await turnEnd()      // when scripts leave
    const [before, { current, ttl }, takenAt, after] = await Promise.all([...first, run((redis) => (redis as Redis).zscore(KEY, `${i}-${who}`)), time()])
    const isTaken = current <= max
    if (isTaken) taken.push(Number(takenAt))
    asked.push({ before, after, isTaken, isRecorded: takenAt !== null, ttlUs: Math.round(ttl * 1000) })
  }
  return asked
}

for (const [max, windowMs] of [[1, 40], [7, 150]] as const) {
  test(`three replicas at once: no window of ${windowMs} ms gets more than ${max}, and a slot frees when its window is over, not earlier and not later`, async (t) => {
    const redis = await startRedis(t)
    const replicas = await Promise.all(NAMES.map((origin) => replica(t, redis, { origin })))
    const taken: number[] = []
    const asked = (await Promise.all(replicas.map((one, i) => hammer(one, NAMES[i]!, max, windowMs, taken, 10 * max)))).flat()
    const refused = asked.filter(({ isTaken }) => !isTaken)
    taken.sort((a, b) => a - b)
    const windows = taken.map((at) => ({ from: at, to: at + windowMs * 1000 }))

    t.comment(`${taken.length} taken, ${refused.length} refused`)
    t.same(asked.filter(({ isTaken, isRecorded }) => isTaken !== isRecorded), [], 'who is refused leaves nothing in Redis')
    t.same(taken.filter((at, n) => n >= max && at < windows[n - max]!.to), [], 'taken before one was free')
    t.same(refused.filter(({ before, after }) => taken.some((at, n) => n >= max && before >= windows[n - max]!.to && after < at)), [], 'refused while one was free')
    t.same(refused.filter(({ before, after, ttlUs }) => !windows.some(({ to }) => to - ttlUs >= before && to - ttlUs <= after)), [], 'told to wait for another time')
    await eventually(async () => await redis.admin.exists(KEY) === 0)
    t.ok(await timeOf(redis) >= windows.at(-1)!.to, 'and its key is gone when all are free')
  })
}

test('a process that is killed in mid-request leaves no key that does not go by itself', async (t) => {
  const redis = await startRedis(t)
  const server = start(t, 'server.ts', [], {
    ...settings, ...PATIENT, LOG_LEVEL: 'info', PORT: '0', REDIS_URL: redis.url, RATE_LIMIT_WINDOW: '2', RATE_LIMIT_AUTH_WINDOW: '2', ARGON2_MEMORY: '19456', HASH_CONCURRENCY: '1'
  })
  const address = await ready(server)
  const limits = async () => (await redis.admin.scan(0, 'MATCH', 'microts:limit:*', 'COUNT', 1000))[1]
  await eventually(async () => (await fetch(`${address}/api`)).ok && (await limits()).length > 0)
  const headers = { 'content-type': 'application/json' }
  const storm = Array.from({ length: 50 }, (_, i) =>
    fetch(`${address}/auth/login`, { method: 'POST', headers, body: JSON.stringify({ email: `user${i % 5}@example.com`, password: 'wrong' }) }))
  const answers = Promise.allSettled(storm)
  await eventually(async () => (await limits()).some((key) => key.includes('{account:')))
  server.child.kill('SIGKILL')
  await server.ended

  t.ok((await answers).some(({ status }) => status === 'rejected'), 'some were being answered')
  for (const key of await limits()) {
    const ttl = await redis.admin.pttl(key)
    t.ok(ttl !== -1 && ttl <= (key.includes('{account:') ? DAY_MS : 2000) + 1, `${key} goes in ${ttl} ms`)
  }
  t.comment(`those of the short windows were gone after ${await eventually(async () => (await limits()).every((key) => key.includes('{account:')))} ms`)
})

test('the microseconds of a whole day are counted, and the key goes with its last slot', async (t) => {
  const redis = await startRedis(t)
  const { log, local } = await replica(t, redis, { time: CLOCK })
  const start = await timeOf(redis) + DAY_US
  const take = async (atUs: number, id: number, max = 1) => {
    await redis.admin.set('clock', atUs)
    const { current, ttl } = await log.take(slot(id), DAY_MS, max)
    return [current, Math.round(ttl * 1000)]
  }

  t.same(await take(start, 1), [1, DAY_US])
  t.same(await take(start + 1, 2), [2, DAY_US - 1])
  t.same(await take(start + DAY_US - 1, 2), [2, 1])
  t.same(await take(start + DAY_US, 2), [1, DAY_US])
  const [before, ttl, after] = [await timeOf(redis), await redis.admin.pttl(KEY), await timeOf(redis)]
  const goesIn = [before, after].map((at) => Math.round((start + 2 * DAY_US - at) / 1000))
  // The end is rounded up, and Redis takes it from a present that is rounded down.
  t.ok(ttl <= goesIn[0]! + 2 && ttl >= goesIn[1]! - 1, `by the same clock: in ${ttl} ms, ${goesIn}`)

  t.same(await take(start + DAY_US + 1, 3, 3), [2, DAY_US - 1])
  t.same(await take(start + DAY_US + 2, 4, 3), [3, DAY_US - 2])
  t.same(await take(start + DAY_US + 3, 5, 2), [3, DAY_US - 2], 'a limit that was lowered waits until as many are free')
  t.equal(local.size, 0)
})

test('a clock that is put back makes slots last longer, never more of them; one that is put forward frees them', async (t) => {
  const redis = await startRedis(t)
  const { log, local } = await replica(t, redis, { time: CLOCK })
  const start = await timeOf(redis) + DAY_US
  const [windowMs, max] = [60_000, 3]
  let slots = 0
  const at = async (seconds: number, how: 'take' | 'look' = 'take') => {
    await redis.admin.set('clock', start + seconds * SECOND_US)
    const { current, ttl } = await log[how](slot(slots++), windowMs, max)
    return [current, ttl / 1000]
  }

  t.same([await at(100), await at(100)], [[1, 60], [2, 60]])
  t.same([await at(70), await at(70), await at(70, 'look')], [[3, 60], [4, 60], [4, 60]], 'what is to come is taken too')
  t.same([await at(129.999), await at(130), await at(130)], [[4, 0.001], [3, 30], [4, 30]], 'the later ones by the clock as it is now')
  t.same([await at(160), await at(160), await at(160)], [[2, 30], [3, 30], [4, 30]])
  t.same([await at(1e6), await at(1e6), await at(1e6), await at(1e6)], [[1, 60], [2, 60], [3, 60], [4, 60]])
  t.equal(local.size, 0)
})

test('a Redis that has forgotten the scripts is told them again', async (t) => {
  const redis = await startRedis(t)
  const { log, local } = await replica(t, redis)
  const take = (id: number) => log.take(slot(id), DAY_MS, 5)
  const look = () => log.look(slot(-1), DAY_MS, 5)
  await Promise.all([take(0), look()])
  for (let i = 1; i < 4; i++) {
    await redis.admin.script('FLUSH')
    const [{ current }, after] = [await take(i), await look()]
    t.same([current, after.current], [i + 1, i + 1])
  }
  t.same((await Promise.all([take(4), take(5), look()])).map(({ current }) => current), [5, 6, 6])
  t.equal(await redis.admin.zcard(KEY), 5)
  t.equal(local.size, 0)
})

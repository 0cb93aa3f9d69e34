import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { createCache } from '../../plugins/cache.ts'
import { eventually } from '../eventually.ts'
import { build, PASSWORD, signUp } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import { connected, startCluster, startRedis } from '../redis.ts'
import type { FastifyInstance } from 'fastify'

// Long enough for a machine that is busy with the rest of the suite.
const PATIENT = { REDIS_COMMAND_TIMEOUT: '5000' }
const FRESH_MS = 1000
const ID = '0198c7a2-0000-7000-8000-000000000000'
const version = (n: number) => ({ id: ID, updatedAt: new Date(n).toISOString() })

const kinds = {
  none: async () => ({ env: {}, isShared: false }),
  single: async (t: Test) => ({ env: { REDIS_URL: (await startRedis(t)).url }, isShared: true }),
  cluster: async (t: Test) => ({ env: { REDIS_CLUSTER_NODES: (await startCluster(t)).urls.join() }, isShared: true })
}

test('a value is kept for a second, counted from before it was read', async (t) => {
  const { cache, clock, loads } = watched()
  t.same(await cache.get(ID, async () => {
    clock.now = 600
    return version(1)
  }), version(1))
  clock.now = 999
  t.same(await cache.get(ID, loads(2)), version(1))
  clock.now = 1000
  t.same(await cache.get(ID, loads(2)), version(2))
  t.same(cache.counts, { hit: 1, shared: 0, miss: 2, error: 0 })
})

test('of many that ask at a time one loads, and what cannot be loaded is told to all and not kept', async (t) => {
  const { cache, loads } = watched()
  const { promise, reject } = Promise.withResolvers<ReturnType<typeof version>>()
  let asked = 0
  const answers = Promise.allSettled(Array.from({ length: 100 }, () => cache.get(ID, () => {
    asked++
    return promise
  })))
  reject(new Error('away'))
  t.ok((await answers).every(({ status }) => status === 'rejected'))
  t.equal(asked, 1)
  t.same(await cache.get(ID, loads(1)), version(1))
})

test('nobody joins a load that began more than a second ago', async (t) => {
  const { cache, clock, loads } = watched()
  const { promise, resolve } = Promise.withResolvers<ReturnType<typeof version>>()
  const slow = cache.get(ID, () => promise)
  clock.now = 1000
  const joined = cache.get(ID, loads(2))
  clock.now = 1001
  t.same(await cache.get(ID, loads(3)), version(3))
  resolve(version(1))
  t.same([await slow, await joined], [version(1), version(1)])
})

test('what is superseded is not answered again, nor joined, nor brought back by a late reader', async (t) => {
  const { cache, clock, loads } = watched()
  const { promise, resolve } = Promise.withResolvers<ReturnType<typeof version>>()
  const late = cache.get(ID, () => promise)
  cache.supersede(ID, version(2).updatedAt)
  t.same(await cache.get(ID, loads(2)), version(2), 'does not join who began before')
  resolve(version(1))
  t.same(await late, version(1))
  t.same(await cache.get(ID, loads(3)), version(2))
  cache.supersede(ID, version(2).updatedAt)
  t.same(await cache.get(ID, loads(3)), version(2), 'the version that is known is not forgotten')
  cache.supersede(ID)
  t.same(await cache.get(ID, loads(3)), version(3), 'what is deleted is not kept')
  t.same(await cache.get(ID, loads(4)), version(4))
  clock.now = FRESH_MS
  await cache.get(ID, loads(5))
  t.same(await cache.get(ID, loads(6)), version(5), 'after a second there is no older one anywhere')
})

test('memory is bounded: of too many values the one that was read longest ago goes', async (t) => {
  const { cache, loads } = watched()
  for (let i = 0; i <= 10_000; i++) await cache.get(String(i), async () => ({ ...version(1), id: String(i) }))
  t.same(await cache.get('1', loads(2)), { ...version(1), id: '1' })
  t.same(await cache.get('0', loads(2)), version(2))
})

for (const [kind, start] of Object.entries(kinds)) {
  test(`${kind}: a change on one replica is seen on the others within a second, and exactly by who names a version`, async (t) => {
    const { env, isShared } = await start(t)
    const [a, b] = await Promise.all([replica(t, env), replica(t, env)])
    const { headers } = await signUp(a)
    const read = (app: FastifyInstance, more = {}) => app.inject({ url: '/me', headers: { ...headers, ...more } })
    for (let round = 0; round < (isShared ? 5 : 2); round++) {
      const [before] = await Promise.all([read(b), read(a)])
      const changed = await a.inject({ method: 'PATCH', url: '/me', payload: { displayName: `round ${round}` }, headers })
      const changedAt = performance.now()
      t.equal((await read(a)).headers.etag, changed.headers.etag, 'at once where it was made')
      t.equal((await read(b, { 'if-match': String(changed.headers.etag) })).statusCode, 200)
      t.equal((await read(b, { 'if-match': String(before.headers.etag) })).statusCode, 412)
      await eventually(async () => (await read(b)).headers.etag === changed.headers.etag, FRESH_MS + 500)
      t.comment(`seen after ${Math.round(performance.now() - changedAt)} ms`)
      const stale = await b.inject({ method: 'PATCH', url: '/me', payload: { displayName: 'late' }, headers: { ...headers, 'if-match': String(before.headers.etag) } })
      t.equal(stale.statusCode, 412)
    }
    t.equal(a.cache.counts.shared + b.cache.counts.shared > 0, isShared)
    t.equal(a.cache.counts.error + b.cache.counts.error, 0)
  })

  test(`${kind}: no read is older than what was written a second before, while many read and write on three replicas`, async (t) => {
    const { env } = await start(t)
    const apps = await Promise.all([replica(t, env), replica(t, env), replica(t, env)])
    const { headers } = await signUp(apps[0]!)
    const written: { at: number, name: string }[] = []
    const ended = performance.now() + 2000
    let reads = 0
    const write = async () => {
      for (let n = 0; performance.now() < ended; n++) {
        const name = `name ${n}`
        const { statusCode } = await apps[n % 3]!.inject({ method: 'PATCH', url: '/me', payload: { displayName: name }, headers })
        if (statusCode !== 200) throw new Error(`answered ${statusCode}`)
        written.push({ at: performance.now(), name })
        await eventually(() => performance.now() - written.at(-1)!.at > (n % 4) * 100)
      }
    }
    const follow = async (app: FastifyInstance) => {
      while (performance.now() < ended) {
        const due = written.findLast(({ at }) => performance.now() - at > FRESH_MS)
        const { user } = (await app.inject({ url: '/me', headers })).json()
        if (due && Number(user.displayName.slice(5)) < Number(due.name.slice(5))) t.fail(`${user.displayName} was read a second after ${due.name}`)
        reads++
        await nextTurn()      // nothing of this is I/O, which would wait for ever
      }
    }
    await Promise.all([write(), ...apps.flatMap((app) => [follow(app), follow(app)])])
    t.comment(`${written.length} writes, ${reads} reads, ${JSON.stringify(apps.map(({ cache }) => cache.counts))}`)
    t.ok(written.length > 5 && reads > 50)
  })
}

test('a change of password and a deletion are seen by who asks next', async (t) => {
  const { env } = await kinds.single(t)
  const a = await replica(t, env)
  const { headers } = await signUp(a)
  const read = async () => (await a.inject({ url: '/me', headers })).json().user.updatedAt
  const first = await read()
  await a.inject({ method: 'PUT', url: '/me/password', payload: { currentPassword: PASSWORD, newPassword: 'another battery staple' }, headers })
  t.ok(await read() > first)
  t.equal((await a.inject({ method: 'DELETE', url: '/me', payload: { password: 'another battery staple' }, headers })).statusCode, 204)
  t.equal((await a.inject({ url: '/me', headers })).statusCode, 401)
})

test('what reaches Redis late, or against a newer version, is not written', async (t) => {
  const redis = await startRedis(t)
  const way = await startProxy(t, redis.url)
  const [a, b] = await Promise.all([replica(t, { REDIS_URL: way.url }), replica(t, { REDIS_URL: redis.url })])
  const held = () => redis.admin.get(`microts:profile:{${ID}}`)
  const older = a.cache.get(ID, async () => {
    b.cache.supersede(ID, version(2).updatedAt)
    await eventually(async () => (await held()) === version(2).updatedAt)
    return version(1)
  })
  t.same(await older, version(1))
  await a.fastPath!.run((redis) => redis.get('after it'))
  t.equal(await held(), version(2).updatedAt, 'a newer version was there')
  await eventually(async () => await held() === null)

  const late = a.cache.get(ID, async () => {
    await way.set('swallow')
    return version(3)
  })
  t.same(await late, version(3))
  const sentAt = performance.now()
  await eventually(() => performance.now() - sentAt > FRESH_MS)
  await way.set('pass')
  await connected(a)
  t.equal(await held(), null, 'it was on its way for longer than a second')
})

test('an older version that Redis still has is not answered where a newer one is known of', async (t) => {
  const redis = await startRedis(t)
  const app = await replica(t, { REDIS_URL: redis.url })
  const get = (n: number) => app.cache.get(ID, async () => version(n))
  const key = `microts:profile:{${ID}}`
  app.cache.supersede(ID, version(2).updatedAt)
  await eventually(async () => await redis.admin.get(key) !== null)
  await redis.admin.set(key, `${version(1).updatedAt}${JSON.stringify(version(1))}`, 'PX', FRESH_MS)
  t.same(await get(2), version(2))
})

test('without Redis, or with nonsense in it, a value is loaded and the failure is counted', async (t) => {
  const redis = await startRedis(t)
  const app = await replica(t, { REDIS_URL: redis.url })
  await redis.admin.set(`microts:profile:{${ID}}`, `${version(1).updatedAt}{`)
  t.same(await app.cache.get(ID, async () => version(2)), version(2))
  await redis.kill()
  app.cache.supersede(ID)
  t.same(await app.cache.get(ID, async () => version(3)), version(3))
  t.same({ ...app.cache.counts, error: 0 }, { hit: 0, shared: 0, miss: 2, error: 0 })
  t.ok(app.cache.counts.error >= 2)
})

/** A cache without Redis on a clock that stands still until it is told to go on. */
function watched () {
  const clock = { now: 0 }
  const loads = (n: number) => async () => version(n)
  return { clock, loads, cache: createCache({ fastPath: null, now: () => clock.now }) }
}

async function replica (t: Test, env: Record<string, string>) {
  const app = await build(t, { ...PATIENT, ...env })
  if (app.fastPath) await connected(app)
  return app
}

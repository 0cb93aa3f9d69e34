import { randomUUID } from 'node:crypto'
import { test, type Test } from 'tap'
import { KEEP_SECONDS } from '../../../plugins/revocations/memory.ts'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, signUp } from '../../helper.ts'
import { createLog } from '../../log.ts'
import { startProxy } from '../../proxy.ts'
import { connected, startCluster, startRedis, type RedisServer } from '../../redis.ts'
import type { FastifyInstance } from 'fastify'

type User = Awaited<ReturnType<typeof signUp>>

// Long enough for a machine that is busy with the rest of the suite.
const PATIENT = { REDIS_COMMAND_TIMEOUT: '5000' }
const STALE_MS = 900
const REFUSED = 'the revocations cannot be written to Redis'

for (const [kind, start] of Object.entries({ single, cluster })) {
  test(`${kind}: a replica without PostgreSQL hears what is revoked, and lets in who is not`, async (t) => {
    const { env } = await start(t)
    const [a, b] = await Promise.all([replica(t, env), replica(t, env)])
    const [ended, alive] = await users(a, 2)
    await b.loseDatabase()
    await logOut(t, a, ended)

    t.comment(`refused by the other after ${await eventually(async () => await verdict(b, ended) === 401)} ms`)
    t.equal(await verdict(b, alive), 200)
    t.match(await b.app.inject({ url: '/me', headers: ended.headers }), { statusCode: 401, body: /"code":"UNAUTHORIZED"/ })
  })

  test(`${kind}: what is published is known at once, even where Redis cannot be asked for it`, async (t) => {
    const redis = await start(t)
    const [a, b] = await Promise.all([replica(t, redis.env), replica(t, redis.env)])
    const [ended, alive] = await users(a, 2)
    await b.loseDatabase()
    await redis.forbidScripts()
    t.equal(await verdict(b, alive), 503)
    await logOut(t, a, ended)
    await eventually(async () => await verdict(b, ended) === 401)
  })

  test(`${kind}: whatever Redis forgets, nobody is let in by what is not there`, async (t) => {
    const redis = await start(t)
    const [a, b] = await Promise.all([replica(t, redis.env), replica(t, redis.env)])
    const [alive, ...others] = await users(a, 6)
    await b.loseDatabase()
    for (const [what, lose] of Object.entries(redis.losses)) {
      await redis.silencePublishing()      // or the replica would know by that
      const ended = others.pop()!
      await lose(async () => {
        await logOut(t, a, ended)
        await eventually(async () => await verdict(b, ended) === 401)
      })
      const verdicts = new Set<number>()
      const tookMs = await eventually(async () => {
        const now = await verdict(b, ended)
        verdicts.add(now)
        return now === 401 && await verdict(b, alive) === 200
      }, 30_000)
      t.notOk(verdicts.has(200), `${what}: refused all the time, and good again after ${tookMs} ms`)
    }
  })

  test(`${kind}: every marker goes when no token can be alive, and many are written as well as one`, async (t) => {
    const redis = await start(t)
    const a = await replica(t, redis.env)
    const ids = Array.from({ length: 1200 }, () => randomUUID())
    a.app.revocations.announce(ids)
    await eventually(async () => {
      const keys = new Set(await redis.keys())
      return ids.every((id) => keys.has(markerOf(id)))
    })
    for (const id of ids.slice(0, 20)) {
      const seconds = await redis.ttl(markerOf(id))
      t.ok(seconds > KEEP_SECONDS - 60 && seconds <= KEEP_SECONDS, `${seconds} s`)
    }
  })
}

test('who revokes without Redis is spoken for by the others', async (t) => {
  const redis = await single(t)
  const way = await startProxy(t, redis.env.REDIS_URL)
  const [a, b] = await Promise.all([replica(t, { REDIS_URL: way.url }), replica(t, redis.env), replica(t, redis.env)])
  const [ended] = await users(a, 1)
  await way.set('refuse')
  await b.loseDatabase()
  await logOut(t, a, ended)

  t.comment(`refused after ${await eventually(async () => await verdict(b, ended) === 401)} ms`)
})

test('what could not be written is written when Redis is back', async (t) => {
  const redis = await single(t)
  const way = await startProxy(t, redis.env.REDIS_URL)
  const [a, b] = await Promise.all([replica(t, { REDIS_URL: way.url }), replica(t, redis.env)])
  const [ended] = await users(a, 1)
  await way.set('refuse')
  await b.loseDatabase()
  await logOut(t, a, ended)
  await way.set('pass')

  t.comment(`refused ${await eventually(async () => await verdict(b, ended) === 401)} ms after the return`)
})

test('what a part of a cluster does not take holds up nothing that is for another', async (t) => {
  const { nodes, urls, keys } = await startCluster(t)
  const { app } = await replica(t, { REDIS_CLUSTER_NODES: urls.join() })
  const others = [...'123456789abcdef'].map((shard) => `~microts:revoked:{${shard}}:*`)
  await Promise.all(nodes.map(({ admin }) => admin.call('ACL', 'SETUSER', 'default', 'resetkeys', ...others)))
  const ids = [...'00001'].map((shard) => `${randomUUID().slice(0, -1)}${shard}`)      // few, or the breaker opens
  app.revocations.remember(ids)
  await eventually(async () => (await keys()).includes(markerOf(ids.at(-1)!)), 30_000)

  await Promise.allSettled(nodes.map(({ admin }) => admin.flushall()))      // replicas refuse, and follow
  await eventually(async () => (await keys()).includes(markerOf(ids.at(-1)!)), 30_000)
})

test('what is revoked last is written before the process ends', async (t) => {
  const redis = await single(t)
  const a = await replica(t, redis.env)
  const [ended] = await users(a, 1)
  a.app.revocations.announce([sessionOf(ended)])
  await a.app.close()
  t.ok((await redis.keys()).includes(markerOf(sessionOf(ended))))
})

test('a Redis that refuses what it is asked for is told of once, and lets in nobody instead', async (t) => {
  const redis = await startRedis(t)
  const log = createLog()
  await redis.admin.call('ACL', 'SETUSER', 'default', '-info')
  const b = await replica(t, { REDIS_URL: redis.url, LOG_LEVEL: 'debug' }, log)
  const refusals = () => log.lines.filter(({ msg }) => msg === REFUSED)
  const [ended, alive] = await users(b, 2)
  t.equal((await log.line(REFUSED)).level, 40)
  await logOut(t, b, ended)
  await b.loseDatabase()
  t.equal(await verdict(b, alive), 503)
  t.equal(await verdict(b, ended), 401)
  const before = refusals().length
  await b.findDatabase()
  await eventually(() => refusals().length > before)
  await redis.admin.call('ACL', 'SETUSER', 'default', '+info')
  await log.line('the revocations are in Redis')
  t.same(refusals().map(({ level }) => level), [40, ...Array.from({ length: refusals().length - 1 }, () => 20)])
})

test('without PostgreSQL and Redis nobody is let in or logged out, and both are good again without a restart', async (t) => {
  const redis = await startRedis(t)
  const b = await replica(t, { REDIS_URL: redis.url })
  const [ended, alive] = await users(b, 2)
  await logOut(t, b, ended)
  await redis.kill()
  await b.loseDatabase()
  t.equal(await verdict(b, ended), 401, 'what is known stays known')
  t.equal(await verdict(b, alive), 503)
  t.match(await b.app.inject({ url: '/me', headers: alive.headers }), { statusCode: 503, headers: { 'retry-after': '1' } })
  await redis.restart()
  await b.findDatabase()
  await eventually(async () => await verdict(b, alive) === 200)
  t.equal(await verdict(b, ended), 401)
  t.equal((await b.app.inject({ url: '/me', headers: alive.headers })).statusCode, 200)
})

/** A replica with a way of its own to PostgreSQL, which has written all it knows to Redis. */
async function replica (t: Test, env: Record<string, string>, stream?: ReturnType<typeof createLog>) {
  const way = await startProxy(t, databaseUrl)
  const app = await build(t, { ...PATIENT, ...env, DATABASE_URL: way.url }, { stream })
  await connected(app)
  return {
    app,
    findDatabase: () => way.set('pass'),
    async loseDatabase () {
      await way.set('refuse')
      await eventually(() => app.revocations.age > STALE_MS)
    }
  }
}

type Replica = Awaited<ReturnType<typeof replica>>

const users = ({ app }: Replica, count: number) => Promise.all(Array.from({ length: count }, () => signUp(app))) as Promise<[User, User, ...User[]]>
const sessionOf = ({ accessToken }: User) => JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString()).sid as string
const markerOf = (sessionId: string) => `microts:revoked:{${sessionId.at(-1)}}:${sessionId}`
const verdict = ({ app }: Replica, user: User) => status(app, sessionOf(user))

/** What the check of a session says, as a status. */
async function status ({ revocations }: FastifyInstance, sessionId: string) {
  try {
    return await revocations.isRevoked(sessionId) ? 401 : 200
  } catch (error) {
    return (error as { statusCode: number }).statusCode
  }
}

async function logOut (t: Test, { app }: Replica, { headers }: User) {
  t.equal((await app.inject({ method: 'POST', url: '/auth/logout', headers })).statusCode, 204)
}

type Act = () => Promise<unknown>

async function single (t: Test) {
  const redis = await startRedis(t)
  return {
    env: { REDIS_URL: redis.url },
    keys: () => redis.admin.keys('*'),
    ttl: (key: string) => redis.admin.ttl(key),
    silencePublishing: () => silence(redis),
    forbidScripts: () => forbid(redis),
    losses: {
      'a FLUSHALL': (logOut: Act) => logOut().then(() => redis.admin.flushall()),
      'a restart without persistence': (logOut: Act) => logOut().then(() => redis.restart()),
      async 'a restart from an older snapshot' (logOut: Act) {
        await redis.admin.save()
        await logOut()
        await redis.restart()
      }
    }
  }
}

async function cluster (t: Test) {
  const cluster = await startCluster(t)
  const masters = async () => [...new Set(await Promise.all(['{0}', '{4}', '{5}', '{8}', '{9}', '{c}'].map(cluster.masterOf)))]
  return {
    env: { REDIS_CLUSTER_NODES: cluster.urls.join() },
    keys: cluster.keys,
    ttl: async (key: string) => (await cluster.masterOf(key)).admin.ttl(key),
    silencePublishing: () => Promise.all(cluster.nodes.map(silence)),
    forbidScripts: () => Promise.all(cluster.nodes.map(forbid)),
    losses: {
      'a FLUSHALL': (logOut: Act) => logOut().then(async () => Promise.all((await masters()).map(({ admin }) => admin.flushall()))),
      'a failover': (logOut: Act) => logOut().then(async () => (await cluster.masterOf('{0}')).kill())
    }
  }
}

const silence = ({ admin }: RedisServer) => admin.call('ACL', 'SETUSER', 'default', 'resetchannels')
const forbid = ({ admin }: RedisServer) => admin.call('ACL', 'SETUSER', 'default', '-@scripting')

import { connect } from 'node:net'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { createServer, getCACertificates, setDefaultCACertificates } from 'node:tls'
import { generate } from 'selfsigned'
import { test, type Test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { connectTo } from '../../plugins/redis/client.ts'
import { eventually } from '../eventually.ts'
import { build, logIn, settings, signUp } from '../helper.ts'
import { freePort } from '../port.ts'
import { startProxy } from '../proxy.ts'
import { callsOf, connected, startCluster, startRedis } from '../redis.ts'
import type { FastifyInstance } from 'fastify'

const isUp = (app: FastifyInstance) => app.health.report().redis?.status === 'up'
const write = (app: FastifyInstance, key = 'key') => app.fastPath!.run((redis) => redis.set(key, 'value'))
const isWritable = (app: FastifyInstance, key?: string) => write(app, key).then(() => true, () => false)
const PATIENT = { REDIS_COMMAND_TIMEOUT: '5000' }

test('without Redis there is no fast path, and nothing is missed', async (t) => {
  const app = await build(t)
  t.equal(app.fastPath, null)
  t.match((await app.inject('/ready')).json(), { ready: true, checks: { redis: { status: 'disabled' } } })
  t.match((await app.inject('/status')).json(), { status: 'up', dependencies: { redis: { status: 'disabled' } } })
})

test('one Redis is named by its URL, with password and database', async (t) => {
  const redis = await startRedis(t, ['--requirepass', 'p@ss'])
  const app = await build(t, { ...PATIENT, REDIS_URL: `redis://default:p%40ss@127.0.0.1:${redis.port}/2` })
  await eventually(() => isUp(app))
  t.equal(await write(app), 'OK')
  await redis.admin.select(2)
  t.equal(await redis.admin.get('key'), 'value')
  t.match((await app.inject('/ready')).json(), { ready: true, checks: { redis: { status: 'up' } } })
  t.match((await app.inject('/status')).json(), { status: 'up', dependencies: { redis: { status: 'up' } } })
})

test('rediss:// is spoken over TLS, with whom the machine trusts', async (t) => {
  const { port, trust } = await startTls(t, { type: 7, ip: '127.0.0.1' })
  const env = { ...PATIENT, REDIS_URL: `rediss://127.0.0.1:${port}` }
  await withoutRedis(t, await build(t, env))
  trust()
  const app = await build(t, env)
  await connected(app)
  t.equal(await write(app), 'OK')
})

test('a server is told the name that it is asked for by (SNI)', async (t) => {
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'redis' }], { extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] }] })
  trusting(t, cert)
  const redis = await startRedis(t)
  const names = new Set<string>()
  const SNICallback = (name: string, done: (error: null) => void) => {
    names.add(name)
    done(null)
  }
  const server = createServer({ cert, key, SNICallback }, (socket) => {
    socket.on('error', () => {}).pipe(connect(redis.port)).on('error', () => {}).pipe(socket)
  })
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, resolve))
  t.teardown(() => server.close())
  const app = await build(t, { ...PATIENT, REDIS_URL: `rediss://localhost:${port}` })
  await connected(app)
  t.same([...names], ['localhost'])
})

test('the certificates of a cluster may be for names', async (t) => {
  const { port, trust, admin } = await startTls(t, { type: 2, value: 'localhost' }, [
    '--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--tls-cluster', 'yes', '--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type', 'hostname'
  ])
  await admin.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
  trust()
  const app = await build(t, { ...PATIENT, REDIS_CLUSTER_NODES: `rediss://localhost:${port}` })
  await eventually(() => isWritable(app))
  t.pass('it is written to')
})

test('whoever of a cluster is listened to, it is with the password of the first', async (t) => {
  const redis = await startRedis(t, ['--requirepass', 'p@ss'])
  const node = connectTo({ REDIS_CLUSTER_NODES: ['redis://:p%40ss@127.0.0.1:1', `127.0.0.1:${redis.port}`] }, 1)
  t.teardown(() => node.disconnect())
  node.on('error', () => {})
  await node.connect()
  t.equal(await node.ping(), 'PONG')
})

test('a cluster is named by some of its nodes, the first of which tells the password of all; a key goes to its master', async (t) => {
  const cluster = await startCluster(t, ['--requirepass', 'p@ss', '--masterauth', 'p@ss'])
  const app = await build(t, { ...PATIENT, REDIS_CLUSTER_NODES: `redis://:p%40ss@127.0.0.1:1,${cluster.urls[0]},${cluster.urls[4]}` })
  await eventually(() => isUp(app))
  const keys = Array.from({ length: 30 }, (_, i) => `key ${i}`)
  await Promise.all(keys.map((key) => write(app, key)))
  t.same((await cluster.keys()).filter((key) => keys.includes(key)).sort(), keys.sort())

  await t.test('slots that move are followed', async (t) => {
    const [from, to] = [await cluster.masterOf('moved'), await cluster.masterOf('elsewhere')]
    t.not(from.port, to.port)
    const slot = await from.admin.cluster('KEYSLOT', 'moved')
    const [fromId, toId] = [await from.admin.cluster('MYID'), await to.admin.cluster('MYID')]
    await to.admin.cluster('SETSLOT', slot, 'IMPORTING', fromId)
    await from.admin.cluster('SETSLOT', slot, 'MIGRATING', toId)
    t.equal(await write(app, 'moved'), 'OK', 'ASK')
    t.equal(await to.admin.call('CLUSTER', 'COUNTKEYSINSLOT', slot), 1)
    for (const { admin } of [to, from]) await admin.cluster('SETSLOT', slot, 'NODE', toId)
    t.equal(await write(app, 'moved'), 'OK', 'MOVED')
  })

  await t.test('a master that dies is replaced, without a restart of ours', async (t) => {
    const master = await cluster.masterOf('key 0')
    const places = await Promise.all([...'abcdef'].map(async (key) => ({ key, other: await cluster.masterOf(key) })))
    const { key, other: { admin } } = places.find(({ other }) => other.port !== master.port)!
    const slot = await admin.cluster('KEYSLOT', key)
    await admin.cluster('SETSLOT', slot, 'MIGRATING', await master.admin.cluster('MYID'))
    await master.kill()
    await t.rejects(write(app, key), 'who is redirected to it is told so, and nothing else happens')
    await admin.cluster('SETSLOT', slot, 'STABLE')
    const areWritable = async () => (await Promise.all(keys.map((key) => isWritable(app, key)))).every(Boolean)
    t.comment(`writable again ${await eventually(areWritable, 30_000)} ms after the kill`)
    await eventually(() => isUp(app))
    await master.restart()
    await eventually(async () => (await master.admin.role())[0] === 'slave', 30_000)
    // The breaker may have opened meanwhile, for four seconds at most.
    await eventually(() => isWritable(app, 'key 0'))
  })
})

for (const [what, mode] of [['refuses', 'refuse'], ['is silent', 'swallow'], ['resets', 'reset']] as const) {
  test(`where Redis ${what} the service starts, goes on without it, and takes to it when it comes`, async (t) => {
    const redis = await startRedis(t)
    const proxy = await startProxy(t, redis.url, mode)
    const startedAt = performance.now()
    const app = await build(t, { REDIS_URL: proxy.url })
    t.comment(`ready after ${Math.round(performance.now() - startedAt)} ms`)
    await withoutRedis(t, app)
    await proxy.set('pass')
    t.comment(`up ${await eventually(() => isUp(app))} ms after the return`)
    await eventually(() => isWritable(app))
  })
}

test('a name that nobody knows, and a cluster of which no node answers, do not hold up the start', async (t) => {
  for (const env of [{ REDIS_URL: 'redis://nowhere.invalid' }, { REDIS_CLUSTER_NODES: 'nowhere.invalid:1' }, { REDIS_CLUSTER_NODES: '127.0.0.1:1,127.0.0.1:2' }]) {
    await withoutRedis(t, await build(t, env))
  }
})

test('a Redis that falls silent costs its deadline, and is back when it is', async (t) => {
  const redis = await startRedis(t)
  const proxy = await startProxy(t, redis.url)
  const app = await build(t, { REDIS_URL: proxy.url })
  await eventually(() => isUp(app))
  await proxy.set('swallow')
  await t.rejects(write(app), { message: 'no answer from Redis within 150 ms' })
  await eventually(() => !isUp(app))
  t.match((await app.inject('/ready')).json(), { ready: true, checks: { redis: { status: 'degraded' } } })
  t.equal((await app.inject('/status')).json().status, 'degraded')
  await proxy.set('pass')
  await eventually(() => isWritable(app))
  await eventually(() => isUp(app))
})

test('an answer that came in time is taken, though this process was busy until later', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url })
  await connected(app)
  const written = write(app)
  const busyUntil = performance.now() + 400
  while (performance.now() < busyUntil);
  t.equal(await written, 'OK')
})

test('what cannot serve is left alone until it can: restarted, a replica, full, wanting a password', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { ...PATIENT, REDIS_URL: redis.url })
  await eventually(() => isWritable(app))
  const troubles = {
    restart: { start: () => redis.kill(), end: () => redis.restart() },
    'a replica': { start: () => redis.admin.replicaof('127.0.0.1', 1), end: () => redis.admin.replicaof('NO', 'ONE') },
    full: { start: () => redis.admin.config('SET', 'maxmemory', '1'), end: () => redis.admin.config('SET', 'maxmemory', '0') },
    'wanting a password': {
      start: async () => {
        await redis.admin.config('SET', 'requirepass', 'secret')
        await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      },
      end: () => redis.admin.config('SET', 'requirepass', '')
    }
  }
  for (const [what, { start, end }] of Object.entries(troubles)) {
    await start()
    await t.rejects(write(app), what)
    await eventually(() => !isUp(app))
    t.match(await app.inject('/ready').then((answer) => answer.json()), { ready: true, checks: { redis: { status: 'degraded' } } }, what)
    await end()
    await eventually(() => isUp(app))
    t.comment(`${what}: writable again after ${await eventually(() => isWritable(app))} ms`)
  }
})

test('a script is one step, and is known again after a restart', async (t) => {
  const redis = await startRedis(t)
  const app = await buildApp(loadConfig({ ...settings, ...PATIENT, REDIS_URL: redis.url }))
  t.teardown(() => app.close())
  await app.ready()
  const count = app.fastPath!.script('count', { keys: ['key'], args: ['more', 'text'], each: "return { redis.call('incrby', key, more), text }" })
  await eventually(() => isWritable(app))
  t.same(await count('counter', 2, 'text'), [2, 'text'])
  await redis.restart()
  await eventually(() => isWritable(app))
  t.same(await count('counter', 3, 'text'), [3, 'text'])
})

test('calls of one turn are one script, each with its own keys and arguments; in a cluster each is its own', async (t) => {
  const script = {
    keys: ['counter', 'other'],
    args: ['more', 'name'],
    once: 'local calls = 0',
    each: "calls = calls + 1 if name ~= 'none' then return { counter, other, redis.call('incrby', counter, more), name, calls } end"
  }
  const [redis, cluster, ofOne] = await Promise.all([startRedis(t), startCluster(t), startRedis(t, ['--cluster-enabled', 'yes'])])
  await ofOne.admin.cluster('ADDSLOTSRANGE', 0, 16_383)
  // Until then it refuses what is asked alone too, and the service knows from then on that it need not ask together.
  await eventually(async () => String(await ofOne.admin.cluster('INFO')).includes('cluster_state:ok'))
  for (const [what, env] of Object.entries({ 'one server': { REDIS_URL: redis.url }, 'a cluster': { REDIS_CLUSTER_NODES: cluster.urls.join() }, 'a cluster of one': { REDIS_URL: ofOne.url } })) {
    const app = await build(t, { ...PATIENT, ...env })
    const call = app.fastPath!.script('several', script)
    await eventually(() => isWritable(app))
    const answers = await Promise.all(['a', 'b', 'a', 'none'].map((name, i) => call(`{${name}}:1`, `{${name}}:2`, 10 ** i, name)))
    const [second, third] = env.REDIS_URL === redis.url ? [2, 3] : [1, 1]
    t.same(answers, [['{a}:1', '{a}:2', 1, 'a', 1], ['{b}:1', '{b}:2', 10, 'b', second], ['{a}:1', '{a}:2', 101, 'a', third], null], what)
    t.same(await call('{a}:1', '{a}:2', 0, 'again'), ['{a}:1', '{a}:2', 101, 'again', 1])
  }

  const app = await build(t, { ...PATIENT, REDIS_URL: redis.url })
  const call = app.fastPath!.script('one of many', { keys: ['key'], each: 'return 1' })
  await eventually(() => isWritable(app))
  const before = await callsOf(redis, 'evalsha')
  t.same(await Promise.all(Array.from({ length: 100 }, (_, i) => call(i))), Array(100).fill(1))
  const after = await callsOf(redis, 'evalsha')
  t.ok(after - before < 10, `${after - before} scripts`)
})

test('a Redis that may evict revocations is warned of', async (t) => {
  const redis = await startRedis(t, ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'])
  const isWarned = async () => {
    const lines: string[] = []
    const app = await build(t, { ...PATIENT, REDIS_URL: redis.url, LOG_LEVEL: 'info' }, { stream: { write: (line) => lines.push(line) } })
    await eventually(() => lines.some((line) => line.includes('"check":"redis"')))
    await write(app)
    return lines.some((line) => line.includes('maxmemory-policy'))
  }
  t.equal(await isWarned(), true)
  await redis.admin.config('SET', 'maxmemory-policy', 'noeviction')
  t.equal(await isWarned(), false)
})

test('what is published is heard by every replica, again after a restart, and after a silence', async (t) => {
  const redis = await startRedis(t)
  const [ways, heard] = [[await startProxy(t, redis.url), await startProxy(t, redis.url)], [[], []] as string[][]]
  const apps = await Promise.all(ways.map(({ url }, i) => listening(t, { REDIS_URL: url }, heard[i]!)))
  await saidAndHeard(apps[0]!, heard, 'first')
  await redis.restart()
  await saidAndHeard(apps[0]!, heard, 'second')
  await ways[1]!.set('swallow')
  await eventually(() => ways[1]!.connections > 6, 20_000)
  await ways[1]!.set('pass')
  await saidAndHeard(apps[0]!, heard, 'third')
  t.notOk(heard.flat().includes('of another channel'))
})

test('in a cluster each hears what another says, whichever nodes they are at, and when theirs dies', async (t) => {
  const cluster = await startCluster(t)
  const heard: string[][] = [[], [], []]
  const apps = await Promise.all(heard.map((words, i) => listening(t, { REDIS_CLUSTER_NODES: [cluster.urls[i], ...cluster.urls].join() }, words)))
  await saidAndHeard(apps[0]!, heard, 'first')
  await cluster.nodes[1]!.kill()
  await saidAndHeard(apps[0]!, heard, 'second')
})

/** All that needs no Redis goes on; what asks it is told at once, or at the deadline. */
async function withoutRedis (t: Test, app: FastifyInstance) {
  const startedAt = performance.now()
  await t.rejects(write(app))
  t.ok(performance.now() - startedAt < 1000)
  const { email, headers } = await signUp(app)
  await logIn(app, email)
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
  t.match((await app.inject('/ready')).json(), { ready: true, checks: { redis: { status: 'degraded' } } })
  t.equal((await app.inject('/status')).json().status, 'degraded')
}

async function listening (t: Test, env: Record<string, string>, heard: string[]) {
  const app = await buildApp(loadConfig({ ...settings, ...PATIENT, ...env }))
  t.teardown(() => app.close())
  app.fastPath!.listen('news', (message) => heard.push(message))
  await app.ready()
  return app
}

/** Said until it is heard: who is away at the moment misses a word. */
async function saidAndHeard (speaker: FastifyInstance, heard: string[][], word: string) {
  await eventually(async () => {
    await speaker.fastPath!.run((redis) => redis.publish('other', 'of another channel')).catch(() => {})
    await speaker.fastPath!.run((redis) => redis.publish('news', word)).catch(() => {})
    return heard.every((words) => words.includes(word))
  }, 20_000)
}

/** A Redis with a certificate for one name, which is trusted when the test says so. */
async function startTls (t: Test, altName: object, args: string[] = []) {
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'redis' }], { extensions: [{ name: 'subjectAltName', altNames: [altName] }] } as Parameters<typeof generate>[1])
  const folder = t.testdir({ cert, key })
  const port = await freePort()
  const { admin } = await startRedis(t, [
    '--tls-port', String(port), '--tls-cert-file', join(folder, 'cert'), '--tls-key-file', join(folder, 'key'), '--tls-auth-clients', 'no', '--tls-ca-cert-file', join(folder, 'cert'), ...args
  ])
  return { port, admin, trust: () => trusting(t, cert) }
}

function trusting (t: Test, cert: string) {
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, cert])
  t.teardown(() => setDefaultCACertificates(trusted))
}

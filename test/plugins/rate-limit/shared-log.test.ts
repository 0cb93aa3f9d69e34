import { test, type Test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, post, signUp } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import { startCluster, startRedis } from '../../redis.ts'
import type { FastifyInstance } from 'fastify'

// Long enough for a machine that is busy with the rest of the suite: a log of one's own would count for itself.
const PATIENT = { REDIS_COMMAND_TIMEOUT: '5000' }
const MAX = 30

const ask = (app: FastifyInstance) => app.inject({ url: '/api' }).then(({ statusCode }) => statusCode)
const passed = (statuses: number[]) => statuses.filter((status) => status === 200).length

const kinds = {
  none: async () => ({ env: {}, replicas: 1, keys: async () => [], ttl: async () => 0 }),

  async single (t: Test) {
    const { url, admin } = await startRedis(t)
    return { env: { REDIS_URL: url }, replicas: 3, keys: () => admin.keys('*'), ttl: (key: string) => admin.pttl(key) }
  },

  async cluster (t: Test) {
    const cluster = await startCluster(t)
    return { env: { REDIS_CLUSTER_NODES: cluster.urls.join() }, replicas: 3, keys: cluster.keys, ttl: async (key: string) => (await cluster.masterOf(key)).admin.pttl(key) }
  }
}

for (const [kind, start] of Object.entries(kinds)) {
  test(`${kind}: of twenty times as many at once over all replicas exactly those pass that may, and every key goes`, async (t) => {
    const { env, replicas, keys, ttl } = await start(t)
    const apps = await Promise.all(Array.from({ length: replicas }, () => replica(t, { ...env, RATE_LIMIT_MAX: String(MAX) })))
    const statuses = await Promise.all(Array.from({ length: 20 * MAX }, (_, i) => ask(apps[i % replicas]!)))
    t.equal(passed(statuses), MAX)
    t.equal(statuses.filter((status) => status === 429).length, 19 * MAX)
    const limits = (await keys()).filter((key) => key.startsWith('microts:limit:'))
    t.equal(limits.length, replicas > 1 ? 1 : 0)
    for (const key of limits) t.ok(await ttl(key) > 0, key)
  })

  test(`${kind}: what succeeds gives its slots back, on every replica`, async (t) => {
    const { env, replicas } = await start(t)
    const apps = await Promise.all(Array.from({ length: replicas }, () => replica(t, { ...env, RATE_LIMIT_LOGIN_MAX: '3', RATE_LIMIT_LOGIN_ADDRESS_MAX: '3', RATE_LIMIT_ACCOUNT_MAX: '3' })))
    const { email } = await signUp(apps[0]!)
    const logIn = async (password: string, i: number) => (await post(apps[i % replicas]!, '/auth/login', { email, password })).statusCode
    for (let i = 0; i < 10; i++) t.equal(await logIn('correct horse battery staple', i), 200)
    for (let i = 0; i < 3; i++) t.equal(await logIn('wrong', i), 401)
    for (let i = 0; i < 3; i++) t.equal(await logIn('correct horse battery staple', i), 429)
  })
}

test('while Redis is away each replica counts by itself, and the shared log goes on where it was', async (t) => {
  const redis = await startRedis(t)
  const ways = await Promise.all([startProxy(t, redis.url), startProxy(t, redis.url)])
  const apps = await Promise.all(ways.map(({ url }) => replica(t, { REDIS_URL: url, RATE_LIMIT_MAX: String(MAX) })))
  const rush = () => Promise.all(Array.from({ length: 4 * MAX }, (_, i) => ask(apps[i % 2]!))).then(passed)
  t.equal(await rush(), MAX)
  for (const way of ways) await way.set('refuse')
  t.equal(await rush(), 2 * MAX, '(replicas + 1) x L at most')
  t.equal(await rush(), 0)
  for (const way of ways) await way.set('pass')
  await Promise.all(apps.map((app) => eventually(() => app.fastPath!.run((redis) => redis.get('any')).then(() => true, () => false))))
  t.equal(await rush(), 0)
})

async function replica (t: Test, env: Record<string, string>) {
  const app = await build(t, { ...PATIENT, ...env })
  if (app.fastPath) await eventually(() => app.health.report().redis?.status === 'up')
  return app
}

import { test, type Test } from 'tap'
import { createSharedLog } from '../../../plugins/rate-limit/shared-log.ts'
import { SlidingLog } from '../../../plugins/rate-limit/sliding-log.ts'
import { eventually } from '../../eventually.ts'
import { build, PASSWORD, signUp } from '../../helper.ts'
import { startCluster, startRedis } from '../../redis.ts'
import type { InjectOptions } from 'fastify'

const MAX = 30
const ENV = {
  // Long enough for a machine that is busy with the rest of the suite: a log of one's own would count for itself.
  REDIS_COMMAND_TIMEOUT: '5000',
  RATE_LIMIT_MAX: String(MAX),
  RATE_LIMIT_LOGIN_MAX: '3',
  RATE_LIMIT_LOGIN_ADDRESS_MAX: '4',
  RATE_LIMIT_ACCOUNT_MAX: '5',
  TRUSTED_PROXIES: '10.0.0.0/8'
}

const from = (remoteAddress: string, forwardedFor?: string): InjectOptions => ({ remoteAddress, headers: forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor } })
const SPELLINGS: Record<string, InjectOptions[]> = {
  'paths that do not differ, or do not exist': ['/api', '/api?a=1', '/api?a=2', '/api/', '//api', '/API', '/%61pi', '/nothing', '/me', '/auth/login'].map((url) => ({ url, remoteAddress: '203.0.113.2' })),
  'other methods': (['GET', 'HEAD', 'POST', 'PUT', 'DELETE'] as const).map((method) => ({ method, remoteAddress: '203.0.113.3' })),
  'one network of IPv6': ['2001:db8:0:1::1', '2001:db8:0:1:ffff:ffff:ffff:ffff', '2001:DB8:0:1:0:0:0:2'].map((ip) => from(ip)),
  'an IPv4 address in both its forms': ['203.0.113.5', '::ffff:203.0.113.5', '::FFFF:cb00:7105'].map((ip) => from(ip)),
  'one client by any trusted proxies': [from('10.0.0.1', '198.51.100.1'), from('10.0.0.2', '198.51.100.1:8080'), from('10.0.0.1', '192.0.2.77, 198.51.100.1, 10.9.9.9'), from('198.51.100.1')],
  'what a peer says that nobody trusts': ['198.51.100.2', '198.51.100.3', '10.0.0.1', 'unknown'].map((said) => from('203.0.113.6', said)),
  'names that are no address': ['unknown', '_hidden', '{address:203.0.113.8}|1'].map((said) => from('10.0.0.1', said))
}

// Beside what an address or a hash may be: what would end a hash tag, or a slot id, too early.
const NAMES = ['', 'a', 'a}', '{a', '{a}', '}{', 'a|1', 'a|', '|', 'a b', 'a\n', 'a\0', '\u00fc', 'u\u0308', '\u{1f600}', 'a:b', '*', 'A']

const kinds = {
  async none (t: Test) {
    return { replicas: await start(t, 1), keys: async () => [], slots: async () => 0, ttl: async () => 0 }
  },

  async single (t: Test) {
    const { url, admin } = await startRedis(t)
    return { replicas: await start(t, 3, { REDIS_URL: url }), keys: () => admin.keys('*'), slots: (key: string) => admin.zcard(key), ttl: (key: string) => admin.pttl(key) }
  },

  async cluster (t: Test) {
    const { urls, keys, masterOf } = await startCluster(t)
    const slots = async (key: string) => (await masterOf(key)).admin.zcard(key)
    const ttl = async (key: string) => (await masterOf(key)).admin.pttl(key)
    return { replicas: await start(t, 3, { REDIS_CLUSTER_NODES: urls.join() }), keys, slots, ttl }
  }
}

for (const [kind, startKind] of Object.entries(kinds)) {
  test(`${kind}: all replicas count as one`, async (t) => {
    const { replicas, slots, ttl, ...redis } = await startKind(t)
    const keys = async () => (await redis.keys()).filter((key) => key.startsWith('microts:limit:'))
    let turn = 0
    const next = () => replicas[turn++ % replicas.length]!
    const logIn = async (email: string, password: string, remoteAddress: string) =>
      (await next().inject({ method: 'POST', url: '/auth/login', remoteAddress, payload: { email, password } })).statusCode

    await t.test('of twenty times as many at once exactly those pass that may', async (t) => {
      const answers = await Promise.all(Array.from({ length: 20 * MAX }, () => next().inject({ url: '/api', ...from('203.0.113.1') })))
      t.equal(answers.filter(({ statusCode }) => statusCode === 200).length, MAX)
      t.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 19 * MAX)
      for (const key of await keys()) t.equal(await slots(key), MAX, 'slots of all replicas have names of their own')
    })

    for (const [what, requests] of Object.entries(SPELLINGS)) {
      await t.test(`one bucket: ${what}`, async (t) => {
        const before = (await keys()).length
        for (const [i, options] of requests.entries()) {
          const { headers } = await next().inject({ url: '/api', ...options })
          t.match(headers.ratelimit, `"address";r=${MAX - 1 - i};`, JSON.stringify(options))
        }
        t.equal((await keys()).length - before, replicas.length > 1 ? 1 : 0)
      })
    }

    await t.test('a success gives its slots back', async (t) => {
      const { email } = await signUp(next())
      for (let i = 0; i < 10; i++) t.equal(await logIn(email, PASSWORD, '203.0.113.10'), 200)
      for (let i = 0; i < 3; i++) t.equal(await logIn(email, 'wrong', '203.0.113.10'), 401)
      for (let i = 0; i < 3; i++) t.equal(await logIn(email, PASSWORD, '203.0.113.10'), 429)
      t.equal(await logIn('nobody@example.com', 'wrong', '203.0.113.10'), 401, 'one is left to the address')
      t.equal(await logIn('nobody@example.com', 'wrong', '203.0.113.10'), 429)
    })

    await t.test('a success ends the row of failures of its account', async (t) => {
      const { email } = await signUp(next())
      const statuses = []
      for (const [i, password] of ['1', '2', '3', '4', PASSWORD, '1', '2', '3', '4', '5', '6', PASSWORD].entries()) {
        statuses.push(await logIn(email, password, `198.51.100.${10 + i}`))
      }
      t.same(statuses, [401, 401, 401, 401, 200, 401, 401, 401, 401, 401, 429, 429])
    })

    await t.test('each name has a log of its own, whatever characters are in it, and none stays for ever', async (t) => {
      const local = new SlidingLog()
      const logs = replicas.map(({ fastPath }) => fastPath ? createSharedLog(fastPath, local) : local)
      for (const name of NAMES) {
        for (const [i, log] of [...logs, ...logs].entries()) {
          const { current } = await log.take({ dimension: 'odd', value: name, id: i }, 60_000, 1)
          t.equal(current, i === 0 ? 1 : 2, JSON.stringify(name))
        }
      }
      const odd = (await keys()).filter((key) => key.includes('{odd:'))
      t.equal(odd.length + local.size, NAMES.length)
      for (const key of odd) t.ok(await ttl(key) > 0, key)
    })
  })
}

async function start (t: Test, count: number, env: Record<string, string> = {}) {
  const apps = await Promise.all(Array.from({ length: count }, () => build(t, { ...ENV, ...env })))
  await eventually(() => apps.every((app) => app.fastPath === null || app.health.report().redis?.status === 'up'))
  return apps
}

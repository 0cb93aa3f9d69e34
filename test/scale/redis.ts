import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { bearer, build, signUp } from '../helper.ts'
import { connected, startRedis, type RedisServer } from '../redis.ts'
import { table } from './table.ts'

const KEYS = 100_000
const AT_A_TIME = 500
const USER_LIMIT = 300

test('what a key takes in Redis', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_COMMAND_TIMEOUT: '60000', REDIS_URL: redis.url, RATE_LIMIT_USER_MAX: String(USER_LIMIT) })
  await connected(app)
  const { accessToken, user } = await signUp(app)
  const addressOf = (i: number) => `2001:db8:${(i >> 16).toString(16)}:${(i & 0xffff).toString(16)}::1`

  const marker = await bytesPerKey(redis, async () => app.revocations.announce(Array.from({ length: KEYS }, randomUUID)))
  const limit = await bytesPerKey(redis, () => inTurns(KEYS, (i) => app.inject({ url: '/api', remoteAddress: addressOf(i) })))
  const profile = await bytesPerKey(redis, () => inTurns(KEYS, async () => {
    const id = randomUUID()
    await redis.admin.set(`microts:profile:{${id}}`, user.updatedAt + JSON.stringify({ ...user, id }), 'PX', 60_000)
  }))
  await inTurns(USER_LIMIT, () => app.inject({ url: '/me', headers: bearer(accessToken) }))
  const log = await redis.admin.memory('USAGE', `microts:limit:{user:${user.id}}`)

  table(t, ['bytes', 'a key', 'a million'], [
    ['revocation marker', marker, `${marker} MB`],
    ['limit of an address, one slot taken', limit, `${limit} MB`],
    [`limit of a user, ${USER_LIMIT} slots taken`, log!, `${log} MB`],
    ['profile', profile, `${profile} MB`]
  ])
})

async function bytesPerKey ({ admin }: RedisServer, add: () => Promise<unknown>) {
  const [keys, bytes] = await size()
  await add()
  while ((await size())[0] < keys + KEYS) await admin.ping()
  const [keysNow, bytesNow] = await size()
  return Math.round((bytesNow - bytes) / (keysNow - keys))

  async function size () {
    const used = /used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]
    return [await admin.dbsize(), Number(used)] as const
  }
}

async function inTurns (count: number, work: (i: number) => Promise<unknown>) {
  for (let from = 0; from < count; from += AT_A_TIME) {
    await Promise.all(Array.from({ length: Math.min(AT_A_TIME, count - from) }, (_, i) => work(from + i)))
  }
}

import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import argon2 from 'argon2'
import pg from 'pg'
import { build } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { startEmbedded } from '../../plugins/db/embedded.ts'
import { PASSWORD, settings } from '../helper.ts'
import { run } from '../processes.ts'
import { startRedis } from '../redis.ts'
import type { Test } from 'tap'

export type World = Awaited<ReturnType<typeof createWorld>>

export const USERS = 4000
export const emailOf = (i: number) => `user-${i}@example.com`
/** For one client that does what thousands do. */
export const UNLIMITED = Object.fromEntries(
  ['', '_USER', '_LOGIN', '_LOGIN_ADDRESS', '_REGISTER', '_REFRESH', '_ACCOUNT'].map((limit) => [`RATE_LIMIT${limit}_MAX`, '1000000'])
)
const AT_A_TIME = 10

/** What `startServers` starts, and users with a session each. */
export async function createWorld (t: Test) {
  const servers = await startServers(t)
  return { ...servers, ...await populate(servers.env) }
}

/** A PostgreSQL that loses nothing when the power fails, unlike that of the tests, a Redis, and the settings of production for them. */
export async function startServers (t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'bench-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await chmod(folder, 0o711)      // PostgreSQL is not run by root
  const database = await startEmbedded({ folder: join(folder, 'postgresql'), durable: true })
  t.teardown(() => database.stop())
  const redis = await startRedis(t)
  const env = {
    NODE_ENV: 'production',
    HOST: '127.0.0.1',
    DATABASE_URL: database.url,
    DB_POOL_SIZE: '10',
    JWT_KEYS: settings.JWT_KEYS,
    JWT_ISSUER: settings.JWT_ISSUER,
    REFRESH_TOKEN_SECRET: settings.REFRESH_TOKEN_SECRET,
    OPS_TOKEN: randomBytes(32).toString('base64url'),
    SHUTDOWN_DELAY: '0',
    ...await asInTheImage(t)
  }
  return { env, redisUrl: redis.url }
}

/** Compiled, and with memory as there: the heap's young generation, and of all else the arenas and the pages. */
async function asInTheImage (t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'compiled-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const env = { NODE_COMPILE_CACHE: folder, NODE_OPTIONS: '--max-semi-space-size=4', MALLOC_ARENA_MAX: '2', GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' }
  const { code, stderr } = await run(t, 'deploy/compile.ts', [], env)
  if (code !== 0) throw new Error(`it is not compiled: ${stderr}`)
  return env
}

async function populate (env: Record<string, string | undefined>) {
  const client = new pg.Client(env.DATABASE_URL)
  await client.connect()
  const app = await build(loadConfig({ ...env, LOG_LEVEL: 'fatal', MIGRATE_ON_START: 'true' }))
  await app.ready()
  await app.health.risen
  const { rows: users } = await client.query<{ id: string, epoch: number }>(`
    insert into users (id, email, email_canonical, password_hash)
    select uuidv7(), email, email, $1 from generate_series(0, ${USERS - 1}) i, lateral (select 'user-' || i || '@example.com') as named (email)
    returning id, epoch`, [await hashOfAll()])
  const pairs: { accessToken: string, refreshToken: string }[] = []
  for (let i = 0; i < USERS; i += AT_A_TIME) {
    pairs.push(...await Promise.all(users.slice(i, i + AT_A_TIME).map((user) => app.sessions.open(user, { address: '192.0.2.1', headers: {} }))))
  }
  await app.close()
  await client.query('create table floor (like sessions including all) with (fillfactor = 90)')
  await client.query('insert into floor select * from sessions')
  await client.query('vacuum analyze')
  await client.end()
  return { accessTokens: pairs.map(({ accessToken }) => accessToken), refreshTokens: pairs.map(({ refreshToken }) => refreshToken) }
}

/** The hash of the password that all of them have, with the parameters that production has by default. */
export const hashOfAll = () => argon2.hash(PASSWORD, { memoryCost: 19_456, timeCost: 2, parallelism: 1 })

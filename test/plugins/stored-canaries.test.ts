import { test } from 'tap'
import { found, secret } from '../canaries.ts'
import { bearer, build, logIn, post, settings, sql } from '../helper.ts'
import { connected, startRedis, type RedisServer } from '../redis.ts'

/** Every row of every table, bytes as hexadecimal digits. */
async function rowsOf () {
  const tables = await sql<{ name: string }>("select quote_ident(tablename) as name from pg_tables where schemaname = 'public'")
  const rows = await Promise.all(tables.map(({ name }) => sql<{ text: string }>(`select '${name} ' || stored::text as text from ${name} stored`)))
  return rows.flat().map(({ text }) => text)
}

/** Every key, and what it holds. */
async function entriesOf ({ admin }: RedisServer) {
  const keys = await admin.keys('*')
  return Promise.all(keys.map(async (key) => {
    const type = await admin.type(key)
    if (type === 'none') return key      // its time has come meanwhile
    const read = { zset: () => admin.zrange(key, 0, '-1'), string: () => admin.get(key) }[type]
    return `${key} ${await read!()}`
  }))
}

test('who has a dump of PostgreSQL or Redis has no password, no token and nothing to make one of; limits keep no address', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url, REDIS_COMMAND_TIMEOUT: '5000' })
  await connected(app)
  const [password, newPassword] = [secret('password'), secret('new-password')]
  const email = `${secret('mail').slice(0, 30)}@example.com`
  const { accessToken, refreshToken } = (await post(app, '/auth/register', { email, password })).json()
  const refreshed = (await post(app, '/auth/refresh', { refreshToken })).json()
  const ended = await logIn(app, email, password)
  await app.inject({ method: 'PUT', url: '/me/password', headers: bearer(refreshed.accessToken), payload: { currentPassword: password, newPassword } })
  await app.inject({ url: '/me', headers: bearer(refreshed.accessToken) })
  await post(app, '/auth/login', { email, password })

  const issued = [accessToken, refreshToken, refreshed.accessToken, refreshed.refreshToken, ended.accessToken, ended.refreshToken]
  const nonces = issued.filter((token) => token.startsWith('rt1.')).map((token) => app.sessions.claimOf(token).nonce)
  const canaries = [password, newPassword, settings.REFRESH_TOKEN_SECRET!, ...issued, ...nonces.flatMap((nonce) => [nonce.toString('hex'), nonce.toString('base64'), nonce.toString('base64url')])]
  const [rows, entries] = await Promise.all([rowsOf(), entriesOf(redis)])
  t.same(found([...rows, ...entries], canaries), [])

  t.same(['users', 'sessions', 'revocations'].filter((table) => !rows.some((row) => row.startsWith(table))), [])
  const kept = (what: string) => entries.filter((entry) => entry.startsWith(what))
  t.ok(kept('microts:limit:').some((entry) => entry.includes('account')))
  t.same(found(kept('microts:limit:'), [email]), [])
})

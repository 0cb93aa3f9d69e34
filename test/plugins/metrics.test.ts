import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { NotFound } from '../../plugins/errors.ts'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, logIn, PASSWORD, post, signUp, sql } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import { connected, startRedis } from '../redis.ts'
import type { FastifyInstance } from 'fastify'

/** The samples of an app by their name with labels. */
async function samples (app: FastifyInstance) {
  const { text } = await app.metrics.expose()
  return Object.fromEntries(text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => {
    const [name = '', value] = line.split(/ (?=\S+$)/)
    return [name, Number(value)]
  }))
}

/** What has happened to sessions, with its reason, and how often. */
async function sessionEvents (app: FastifyInstance) {
  const counted = Object.entries(await samples(app)).map(([name, value]) => [/^microts_session_events_total\{event="(.*)",reason="(.*)"\}$/.exec(name)?.slice(1).join(), value])
  return counted.filter(([event, value]) => event && value)
}

test('what happens to sessions is counted', async (t) => {
  const app = await build(t, { SESSION_LIMIT: '3', REFRESH_GRACE_SECONDS: '0' })
  t.equal((await samples(app))['microts_session_events_total{event="reuse_detected",reason=""}'], 0, 'what has not happened yet is 0')
  const { email, refreshToken } = await signUp(app)
  const refresh = (token: string) => post(app, '/auth/refresh', { refreshToken: token })
  await refresh(refreshToken)
  await refresh(refreshToken)
  const sessions = []
  for (let i = 0; i < 4; i++) sessions.push(await logIn(app, email))
  await app.inject({ method: 'POST', url: '/auth/logout', headers: sessions[3]!.headers })
  await app.inject({ method: 'DELETE', url: '/me/sessions?all=true', headers: sessions[2]!.headers })

  const counted = await samples(app)
  const event = (name: string, reason = '') => counted[`microts_session_events_total{event="${name}",reason="${reason}"}`]
  t.same([event('opened'), event('refreshed'), event('replayed'), event('reuse_detected')], [5, 1, 0, 1])
  t.same([event('revoked', 'reuse detected'), event('revoked', 'session limit'), event('revoked', 'logout'), event('revoked', 'revoked')], [1, 1, 1, 2])
})

test('what is rolled back has not happened to any session', async (t) => {
  const app = await build(t, { SESSION_LIMIT: '1' })
  const { user, headers } = await signUp(app)
  const account = await app.users.account(user.id)
  await t.rejects(app.db.tx(async (tx) => {
    t.match(await app.sessions.openUnderLock(tx, account, { address: undefined, headers: {} }), { evicted: [String] })
    throw new NotFound()
  }))
  await t.rejects(app.db.tx(async (tx) => {
    t.match(await app.sessions.revokeUnderLock(tx, user.id, 'password changed'), { ids: [String] })
    throw new NotFound()
  }))
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
  t.same(await sessionEvents(app), [['opened,', 1]])
})

test('a registration that cannot be committed has opened no session', async (t) => {
  const app = await build(t)
  await sql(`
    create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
    create constraint trigger refuse after insert on users deferrable initially deferred for each row execute function refuse()`)
  t.teardown(() => sql('drop trigger refuse on users; drop function refuse'))
  t.equal((await post(app, '/auth/register', { email: 'ada@example.com', password: PASSWORD })).statusCode, 500)
  t.same(await sessionEvents(app), [])
})

test('limits, hashes, the cache and the build tell of themselves', async (t) => {
  const app = await build(t, { RATE_LIMIT_LOGIN_MAX: '1' })
  const { headers, email } = await signUp(app)
  await app.inject({ url: '/me', headers })
  await app.inject({ url: '/me', headers })
  for (let i = 0; i < 2; i++) await post(app, '/auth/login', { email, password: 'not the password' })
  t.match(await samples(app), {
    'microts_limit_decisions_total{limit="login",decision="allowed"}': 1,
    'microts_limit_decisions_total{limit="login",decision="refused"}': 1,
    'microts_limit_decisions_total{limit="user",decision="allowed"}': 2,
    microts_hash_duration_seconds_count: 2,
    microts_hash_concurrency: app.config.HASH_CONCURRENCY,
    microts_hashes_in_flight: 0,
    microts_hash_queue_length: 0,
    microts_hashes_expected: 0,
    microts_hashes_declined_total: 0,
    'microts_cache_requests_total{result="hit"}': 1,
    'microts_cache_requests_total{result="miss"}': 1,
    [`microts_build_info{version="${app.release}",node="${process.version}",argon2="${app.passwords.build}"}`]: 1,
    pg_pool_max_connections: 10,
    pg_pool_waiting_requests: 0,
    'microts_ready_transitions_total{to="ready"}': 1,
    'microts_ready_transitions_total{to="unready"}': 0,
    'microts_breaker_transitions_total{breaker="database",to="open"}': 0
  })
})

test('an outage can be seen: the check, readiness, the breaker and the age of what is known', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const redis = await startRedis(t)
  const app = await build(t, { DATABASE_URL: proxy.url, REDIS_URL: redis.url })
  await connected(app)
  const [up, away] = [await samples(app), { microts_ready: 0, 'microts_check_up{check="database"}': 0, 'microts_breaker_state{breaker="database",state="open"}': 1 }]
  t.match(up, { microts_ready: 1, 'microts_check_up{check="database"}': 1, 'microts_check_up{check="redis"}': 1, 'microts_breaker_state{breaker="database",state="closed"}': 1 })
  t.ok(up.microts_revocation_feed_age_seconds! < 1)

  await proxy.set('refuse')
  await eventually(async () => {
    await Promise.all(Array.from({ length: 10 }, () => post(app, '/auth/login', { email: 'a@example.com', password: 'of no account' })))
    const now = await samples(app)
    return Object.entries(away).every(([name, value]) => now[name] === value)
  })
  t.equal((await samples(app))['microts_ready_transitions_total{to="unready"}'], 1)
  t.ok((await samples(app)).microts_revocation_feed_age_seconds! > 0.9)

  await proxy.set('pass')
  await eventually(async () => (await samples(app)).microts_ready === 1)
  const after = await samples(app)
  t.equal(after['microts_ready_transitions_total{to="ready"}'], 2)
  t.ok(after['microts_breaker_transitions_total{breaker="database",to="open"}']! >= 1)
})

test('a key that has a date tells since when it signs, or when it was made', async (t) => {
  const app = await build(t)
  t.same(Object.keys(await samples(app)).filter((name) => name.startsWith('microts_signing_key')), [])
  const [jwk] = JSON.parse(String(app.config.JWT_KEYS)).keys
  const nbf = Math.floor((performance.timeOrigin + performance.now()) / 1000) - 60
  for (const [dates, since] of [[{ nbf }, nbf], [{ iat: nbf - 600, nbf }, nbf], [{ iat: nbf, nbf: 0 }, nbf], [{ iat: 'yesterday' }, undefined]] as const) {
    const dated = await build(t, { JWT_KEYS: JSON.stringify({ keys: [{ ...jwk, ...dates }] }) })
    t.equal((await samples(dated))[`microts_signing_key_since_timestamp_seconds{kid="${dated.keys.current.signer().kid}"}`], since)
  }
})

import { createHmac } from 'node:crypto'
import { test } from 'tap'
import { bearer, build, logIn, post, settings, signUp, sql } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

const refresh = (app: FastifyInstance, refreshToken: string) => post(app, '/auth/refresh', { refreshToken })
const generationOf = async (userId: string) => (await sql<{ generation: number }>('select generation from sessions where user_id = $1', [userId])).map(({ generation }) => generation)
const me = (app: FastifyInstance, accessToken: string) => app.inject({ url: '/me', headers: bearer(accessToken) })

test('each use gives the next token, and the access token works', async (t) => {
  const app = await build(t)
  const { user, refreshToken } = await signUp(app)

  const first = await refresh(app, refreshToken)
  const second = await refresh(app, first.json().refreshToken)

  t.equal(second.statusCode, 200)
  t.equal(new Set([refreshToken, first.json().refreshToken, second.json().refreshToken]).size, 3)
  t.match(second.json(), { tokenType: 'Bearer', expiresIn: 900, refreshExpiresIn: 604_800 })
  t.same(await generationOf(user.id), [2])
  t.equal((await me(app, second.json().accessToken)).statusCode, 200)
})

test('100 parallel refreshes of one token make one new generation and get one successor', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  const { user, refreshToken } = await signUp(a)

  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => refresh(i % 2 ? a : b, refreshToken)))

  t.same(answers.map(({ statusCode }) => statusCode), Array(100).fill(200))
  t.equal(new Set(answers.map((answer) => answer.json().refreshToken)).size, 1)
  t.same(await generationOf(user.id), [1])
})

test('20 sessions refreshed at once do not disturb each other', async (t) => {
  const app = await build(t)
  const { user, email, refreshToken } = await signUp(app)
  const others = await Promise.all(Array.from({ length: 19 }, () => logIn(app, email)))

  const answers = await Promise.all([refreshToken, ...others.map((other) => other.refreshToken)].map((token) => refresh(app, token)))

  t.same(answers.map(({ statusCode }) => statusCode), Array(20).fill(200))
  t.same(await generationOf(user.id), Array(20).fill(1))
})

test('a retry within the grace gets the same successor again', async (t) => {
  const app = await build(t)
  const { user, refreshToken } = await signUp(app)

  const first = await refresh(app, refreshToken)
  const again = await refresh(app, refreshToken)

  t.equal(again.json().refreshToken, first.json().refreshToken)
  t.equal((await me(app, again.json().accessToken)).statusCode, 200)
  t.same(await generationOf(user.id), [1])
})

for (const [name, age] of [['a parent presented after the grace', '31 seconds'], ['a parent presented after its child was rotated', '0 seconds']] as const) {
  test(`${name} is theft: the family is dead, and so are its access tokens`, async (t) => {
    const lines: string[] = []
    const app = await build(t, { LOG_LEVEL: 'warn' }, { stream: { write: (line) => { lines.push(line) } } })
    const { user, refreshToken } = await signUp(app)
    let latest = (await refresh(app, refreshToken)).json()
    if (age === '0 seconds') latest = (await refresh(app, latest.refreshToken)).json()
    await sql('update sessions set rotated_at = now() - $2::interval where user_id = $1', [user.id, age])

    const stolen = await refresh(app, refreshToken)

    t.equal(stolen.statusCode, 401)
    t.equal(stolen.json().code, 'INVALID_REFRESH_TOKEN')
    t.equal((await refresh(app, latest.refreshToken)).statusCode, 401)
    t.equal((await me(app, latest.accessToken)).statusCode, 401)
    t.match(await sql('select revoked_reason from sessions where user_id = $1', [user.id]), [{ revoked_reason: 'reuse detected' }])
    t.equal(lines.filter((line) => line.includes('reuse detected')).length, 1)
  })
}

for (const [how, finish] of Object.entries<(app: FastifyInstance, headers: { authorization: string }, id: string) => Promise<unknown>>({
  'signs out': (app, headers) => app.inject({ method: 'POST', url: '/auth/logout', headers }),
  'lets it run out': (app, headers, id) => sql("update sessions set idle_expires_at = now() - interval '1 second' where user_id = $1", [id])
})) {
  test(`a thief who ${how} before the owner comes back is noticed all the same, and once`, async (t) => {
    const lines: string[] = []
    const app = await build(t, { LOG_LEVEL: 'warn' }, { stream: { write: (line) => { lines.push(line) } } })
    const { user, refreshToken } = await signUp(app)
    const { refreshToken: next, accessToken } = (await refresh(app, refreshToken)).json()
    await sql("update sessions set rotated_at = now() - interval '31 seconds' where user_id = $1", [user.id])
    await finish(app, { authorization: `Bearer ${accessToken}` }, user.id)

    t.equal((await refresh(app, next)).statusCode, 401)
    t.same(lines, [], 'the latest token of a session that has ended is nobody else\'s')
    for (let i = 0; i < 2; i++) t.equal((await refresh(app, refreshToken)).json().code, 'INVALID_REFRESH_TOKEN')
    t.match(await sql('select revoked_reason from sessions where user_id = $1', [user.id]), [{ revoked_reason: 'reuse detected' }])
    t.equal(lines.filter((line) => line.includes('reuse detected')).length, 1)
    t.match((await app.inject('/metrics')).body, /^microts_session_events_total\{event="reuse_detected",reason=""\} 1$/m)
  })
}

test('a theft that cannot be noted is told of', async (t) => {
  const lines: string[] = []
  const app = await build(t, { LOG_LEVEL: 'warn' }, { stream: { write: (line) => { lines.push(line) } } })
  const { user, refreshToken } = await signUp(app)
  await refresh(app, refreshToken)
  await sql("update sessions set rotated_at = now() - interval '31 seconds' where user_id = $1", [user.id])
  await sql('alter table revocations rename to revocations_away')
  t.equal((await refresh(app, refreshToken)).statusCode, 503)
  await sql('alter table revocations_away rename to revocations')
  t.equal(lines.filter((line) => line.includes('reuse detected')).length, 1)
})

test('a token ahead of the row, lost by a standby that lagged, is taken and the row catches up', async (t) => {
  const app = await build(t)
  const { user, refreshToken } = await signUp(app)
  const first = (await refresh(app, refreshToken)).json()
  const second = (await refresh(app, first.refreshToken)).json()
  await sql('update sessions set generation = 0, rotated_at = null where user_id = $1', [user.id])

  const recovered = await refresh(app, second.refreshToken)

  t.equal(recovered.statusCode, 200)
  t.same(await generationOf(user.id), [3])
  t.equal((await refresh(app, recovered.json().refreshToken)).statusCode, 200)
})

test('malformed, unknown and forged tokens get one answer and touch nobody', async (t) => {
  const app = await build(t)
  const { user, refreshToken } = await signUp(app)
  const bytes = Buffer.from(refreshToken.slice(4), 'base64url')
  const signed = (change: (claim: Buffer) => void, secret = String(settings.REFRESH_TOKEN_SECRET)) => {
    const claim = Buffer.from(bytes.subarray(0, 36))
    change(claim)
    return 'rt1.' + Buffer.concat([claim, createHmac('sha256', secret).update('rt1.').update(claim).digest()]).toString('base64url')
  }
  const candidates = {
    malformed: 'rt1.nonsense',
    empty: '',
    'another secret': signed(() => {}, 'x'.repeat(32)),
    'unknown session': signed((claim) => claim.fill(7, 0, 16)),
    'another nonce': signed((claim) => claim.fill(7, 20)),
    'another nonce, ahead': signed((claim) => { claim.fill(7, 20); claim.writeUInt32BE(9, 16) }),
    'another nonce, far ahead': signed((claim) => { claim.fill(7, 20); claim.writeUInt32BE(0xffffffff, 16) })
  }
  const bodies = new Set()
  for (const [name, candidate] of Object.entries(candidates)) {
    const answer = await refresh(app, candidate)
    t.equal(answer.statusCode, 401, name)
    const { requestId, correlationId, ...body } = answer.json()
    bodies.add(JSON.stringify(body))
  }
  t.equal(bodies.size, 1)
  t.same(await generationOf(user.id), [0])
  t.equal((await refresh(app, refreshToken)).statusCode, 200)
})

test('the idle life moves with each refresh, the absolute life never', async (t) => {
  const app = await build(t, { REFRESH_IDLE_TTL: '600', REFRESH_ABSOLUTE_TTL: '1000' })
  const { user, refreshToken } = await signUp(app)
  const ends = async () => (await sql<{ end: Date, idle: number }>(
    'select expires_at as end, extract(epoch from idle_expires_at - now())::float8 as idle from sessions where user_id = $1', [user.id]))[0]
  const before = await ends()
  await sql("update sessions set idle_expires_at = now() + interval '5 seconds' where user_id = $1", [user.id])

  const first = (await refresh(app, refreshToken)).json()
  const after = await ends()
  t.same(after?.end, before?.end)
  t.ok(after && after.idle > 590)

  await sql("update sessions set expires_at = now() + interval '100 seconds' where user_id = $1", [user.id])
  const second = (await refresh(app, first.refreshToken)).json()
  t.ok(second.expiresIn <= 100 && second.refreshExpiresIn <= 100, 'tokens end with their session')

  await sql("update sessions set idle_expires_at = now() - interval '1 second' where user_id = $1", [user.id])
  t.equal((await refresh(app, second.refreshToken)).statusCode, 401, 'idle for too long')
  await sql("update sessions set idle_expires_at = now() + interval '1 hour', expires_at = now() - interval '1 second' where user_id = $1", [user.id])
  t.equal((await refresh(app, second.refreshToken)).statusCode, 401, 'too old')
})

test('a disabled user gets no further tokens, by a replay neither', async (t) => {
  const app = await build(t)
  const { user, refreshToken } = await signUp(app)
  const { refreshToken: next } = (await refresh(app, refreshToken)).json()
  await sql('update users set disabled_at = now() where id = $1', [user.id])

  for (const token of [refreshToken, next]) t.equal((await refresh(app, token)).statusCode, 401)
  t.match(await sql('select generation from sessions where user_id = $1', [user.id]), [{ generation: 1 }], 'nor is it used up')
})

test('tokens work across replicas and restarts, and across a change of secrets', async (t) => {
  const [old, fresh] = ['first-of-two-keys-for-refreshing-0', 'second-of-two-keys-for-refreshing-']
  const a = await build(t, { REFRESH_TOKEN_SECRET: old })
  const { refreshToken } = await signUp(a)
  await a.close()
  const both = await build(t, { REFRESH_TOKEN_SECRET: `${old},${fresh}` })
  const second = (await refresh(both, refreshToken)).json().refreshToken
  const turned = await build(t, { REFRESH_TOKEN_SECRET: `${fresh},${old}` })
  const third = (await refresh(turned, second)).json().refreshToken
  const last = await build(t, { REFRESH_TOKEN_SECRET: fresh })

  t.equal((await refresh(last, third)).statusCode, 200)
  t.equal((await refresh(last, second)).statusCode, 401, 'signed by a secret that is gone')
})

test('a client that could not retry while PostgreSQL was away may do so after', async (t) => {
  const app = await build(t, { REFRESH_GRACE_SECONDS: '1' })
  const { user, refreshToken } = await signUp(app)
  const first = (await refresh(app, refreshToken)).json()
  const rotatedAgo = (seconds: number) => sql('update sessions set rotated_at = now() - make_interval(secs => $2) where user_id = $1', [user.id, seconds])

  const cut = t.rejects(app.db.query('select pg_sleep(10)'), { code: 'SERVICE_UNAVAILABLE' })
  const victims = 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query = $1'
  while ((await sql(victims, ['select pg_sleep(10)'])).length === 0);
  await cut
  await rotatedAgo(4)

  const retried = await refresh(app, refreshToken)
  t.equal(retried.statusCode, 200)
  t.equal(retried.json().refreshToken, first.refreshToken)

  await rotatedAgo(7)
  t.equal((await refresh(app, refreshToken)).statusCode, 401, 'that was before the outage')
})

test('without a grace a parent is never taken again', async (t) => {
  const app = await build(t, { REFRESH_GRACE_SECONDS: '0' })
  const { refreshToken } = await signUp(app)
  await refresh(app, refreshToken)

  t.equal((await refresh(app, refreshToken)).statusCode, 401)
})

import pg from 'pg'
import { test } from 'tap'
import { bearer, build, databaseUrl, logIn, PASSWORD, post, signUp, sql } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

const TRIALS = 40
const NEW_PASSWORD = 'staple battery horse correct'

const refresh = (app: FastifyInstance, refreshToken: string) => post(app, '/auth/refresh', { refreshToken })
const logout = (app: FastifyInstance, accessToken: string) => post(app, '/auth/logout', {}, bearer(accessToken))
const changePassword = (app: FastifyInstance, accessToken: string, [currentPassword, newPassword]: string[]) =>
  app.inject({ method: 'PUT', url: '/me/password', headers: bearer(accessToken), payload: { currentPassword, newPassword } })

/** Runs a statement and keeps its locks; `release` waits until somebody else waits for them, then commits. */
async function holding (t: Test, statement: string, values: unknown[]) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  t.teardown(() => client.end())
  await client.query('begin')
  await client.query(statement, values)
  return async function release () {
    while ((await sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")).length === 0);
    await client.query('commit')
  }
}

/** How many of these tokens still open a door. */
async function survivors (app: FastifyInstance, pairs: { accessToken?: string, refreshToken?: string }[]) {
  let count = 0
  for (const { accessToken, refreshToken } of pairs) {
    if (accessToken && (await app.inject({ url: '/me', headers: bearer(accessToken) })).statusCode === 200) count++
    if (refreshToken && (await refresh(app, refreshToken)).statusCode === 200) count++
  }
  return count
}

test('refresh against logout: after both no token of the session works', async (t) => {
  const app = await build(t)
  for (let trial = 0; trial < TRIALS; trial++) {
    const pair = await signUp(app)
    const [refreshed, left] = await Promise.all([refresh(app, pair.refreshToken), logout(app, pair.accessToken)])

    t.equal(left.statusCode, 204)
    t.equal(await survivors(app, [pair, refreshed.json()]), 0)
  }
})

test('refresh against password change: no token of another session survives', async (t) => {
  const app = await build(t)
  for (let trial = 0; trial < TRIALS; trial++) {
    const { email, accessToken } = await signUp(app)
    const other = await logIn(app, email)
    const [refreshed, changed] = await Promise.all([refresh(app, other.refreshToken), changePassword(app, accessToken, [PASSWORD, NEW_PASSWORD])])

    t.equal(changed.statusCode, 204)
    t.equal(await survivors(app, [other, refreshed.json()]), 0)
    t.equal(await survivors(app, [{ accessToken }]), 1, 'the session that changed it goes on')
  }
})

test('login against password change: the old password leaves no session behind', async (t) => {
  const app = await build(t)
  for (let trial = 0; trial < TRIALS; trial++) {
    const { email, accessToken } = await signUp(app)
    const [login, changed] = await Promise.all([
      post(app, '/auth/login', { email, password: PASSWORD }),
      changePassword(app, accessToken, [PASSWORD, NEW_PASSWORD])
    ])

    t.equal(changed.statusCode, 204)
    t.equal(await survivors(app, [login.json()]), 0)
  }
})

test('a login that verified the old password while the change was committing loses', async (t) => {
  const app = await build(t)
  const { user, email } = await signUp(app)
  const release = await holding(t, 'update users set epoch = epoch + 1 where id = $1', [user.id])

  const login = post(app, '/auth/login', { email, password: PASSWORD })
  await release()

  t.equal((await login).statusCode, 401)
  t.equal((await sql('select 1 from sessions where user_id = $1', [user.id])).length, 1, 'only the session of the registration is there')
})

for (const { overtakenBy, status } of [{ overtakenBy: 1, status: 200 }, { overtakenBy: 2, status: 401 }]) {
  test(`a refresh that was overtaken by ${overtakenBy} while it waited for the row is judged anew: ${status}`, async (t) => {
    const app = await build(t)
    const { user, refreshToken } = await signUp(app)
    const release = await holding(t, 'update sessions set generation = $2, rotated_at = now() where user_id = $1', [user.id, overtakenBy])

    const refreshed = refresh(app, refreshToken)
    await release()

    t.equal((await refreshed).statusCode, status)
    t.match(await sql('select generation from sessions where user_id = $1', [user.id]), [{ generation: overtakenBy }])
  })
}

test('a refresh that waited for the row while the session was revoked gets nothing', async (t) => {
  const app = await build(t)
  const { user, refreshToken } = await signUp(app)
  const release = await holding(t, 'update sessions set revoked_at = now() where user_id = $1', [user.id])

  const refreshed = refresh(app, refreshToken)
  await release()

  t.equal((await refreshed).statusCode, 401)
  t.match(await sql('select generation from sessions where user_id = $1', [user.id]), [{ generation: 0 }])
})

test('login against account deletion: nothing is left, and nothing fails', async (t) => {
  const app = await build(t)
  for (let trial = 0; trial < TRIALS; trial++) {
    const { user, email, headers } = await signUp(app)
    const [login, removed] = await Promise.all([
      post(app, '/auth/login', { email, password: PASSWORD }),
      app.inject({ method: 'DELETE', url: '/me', headers, payload: { password: PASSWORD } })
    ])

    t.equal(removed.statusCode, 204)
    t.ok([200, 401].includes(login.statusCode))
    t.equal(await survivors(app, [login.json()]), 0)
    t.same(await sql('select 1 from sessions where user_id = $1', [user.id]), [])
  }
})

test('two password changes at once: one wins', async (t) => {
  const app = await build(t)
  const { email, accessToken } = await signUp(app)
  const other = await logIn(app, email)

  const changes = await Promise.all([accessToken, other.accessToken].map((token, i) => changePassword(app, token, [PASSWORD, `${NEW_PASSWORD} ${i}`])))

  t.same(changes.map(({ statusCode }) => statusCode).sort(), [204, 401])
})

test('200 parallel logins leave 20 sessions, and the evicted ones are dead', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  const { user, email } = await signUp(a)

  const logins = await Promise.all(Array.from({ length: 200 }, (_, i) => post(i % 2 ? a : b, '/auth/login', { email, password: PASSWORD })))
  t.same(logins.map(({ statusCode }) => statusCode), Array(200).fill(200))

  t.equal((await sql('select 1 from sessions where user_id = $1 and revoked_at is null', [user.id])).length, 20)
  await Promise.all([a.revocations.refresh(), b.revocations.refresh()])
  // One after another: 200 at once can hold up a busy machine for longer than the feed of revocations stays fresh.
  const alive = []
  for (const { accessToken } of logins.map((login) => login.json())) {
    if ((await a.inject({ url: '/me', headers: bearer(accessToken) })).statusCode === 200) alive.push(accessToken)
  }
  t.equal(alive.length, 20)
  const { statusCode, body } = await a.inject({ url: '/me/sessions', headers: bearer(alive[0]) })
  t.equal(statusCode, 200, body)
  t.equal(JSON.parse(body).sessions?.length, 20)
})

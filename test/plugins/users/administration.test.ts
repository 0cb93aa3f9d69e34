import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { bearer, build, logIn, PASSWORD, post, signUp, sql } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

const TRIALS = 40
const NEW_PASSWORD = 'staple battery horse correct'
const REASON = { reason: 'revoked by an operator' }

type Deed = [what: string, act: (app: FastifyInstance, id: string) => Promise<unknown>]
const deeds: Deed[] = [
  ['disable', (app, id) => app.users.disable(id)],
  ['a new password', (app, id) => app.users.setPassword(id, NEW_PASSWORD)],
  ['deletion', (app, id) => app.users.delete(id)]
]
const login = async (app: FastifyInstance, email: string, password = PASSWORD) => (await post(app, '/auth/login', { email, password })).statusCode
const refresh = (app: FastifyInstance, refreshToken: string) => post(app, '/auth/refresh', { refreshToken })
// It would tell an account that is gone of no sessions, unless its token is refused.
const me = async (app: FastifyInstance, accessToken: string) => (await app.inject({ url: '/me/sessions', headers: bearer(accessToken) })).statusCode

for (const [what, act] of [...deeds, ['the end of all sessions', (app, id) => app.sessions.revokeAll(id, REASON)] satisfies Deed]) {
  test(`refresh against ${what}: no token survives`, async (t) => {
    const app = await build(t)
    for (let trial = 0; trial < TRIALS; trial++) {
      const { user, accessToken, refreshToken } = await signUp(app)
      const [refreshed] = await Promise.all([refresh(app, refreshToken), act(app, user.id)])
      const successor = refreshed.statusCode === 200 ? [refreshed.json()] : []
      for (const pair of [{ accessToken, refreshToken }, ...successor]) {
        t.same([await me(app, pair.accessToken), (await refresh(app, pair.refreshToken)).statusCode], [401, 401])
      }
    }
  })
}

for (const [what, act] of [...deeds, ['disable and enable', (app, id) => app.users.disable(id).then(() => app.users.enable(id))] satisfies Deed]) {
  test(`a login that is being verified during ${what} opens no session`, async (t) => {
    const [app, other] = [await build(t, { HASH_CONCURRENCY: '1' }), await build(t)]
    const { user, email } = await signUp(app)
    const busy = Promise.withResolvers<void>()
    const passing = app.passwords.gate.pass(() => busy.promise)
    const status = login(app, email)
    await eventually(() => app.passwords.gate.queueLength === 1)      // its account has been read by now
    await act(other, user.id)
    busy.resolve()
    await passing

    t.equal(await status, 401)
    t.same(await sql('select from sessions where user_id = $1 and revoked_at is null', [user.id]), [])
  })
}

test('who is found by an address in any spelling, and nobody by another', async (t) => {
  const app = await build(t)
  const { user } = await signUp(app, 'grace@example.com')
  t.same(await app.users.find(' GRACE@Example.COM '), { ...user, disabledAt: null })
  t.equal(await app.users.find('grace@example.org'), undefined)
  await t.rejects(app.users.find('grace'), { code: 'VALIDATION_ERROR' })
})

test('what is done to an account leaves its profile, and the version of that, as it was', async (t) => {
  const app = await build(t)
  const { user, email } = await signUp(app)
  await app.users.disable(user.id)
  await app.users.enable(user.id)
  await app.users.setPassword(user.id, NEW_PASSWORD)
  t.same(await app.users.get(user.id, { 'if-match': '*' }), user)
  t.same([await login(app, email), await login(app, email, NEW_PASSWORD)], [401, 200])
})

test('a password that is set follows the rules of one that is chosen', async (t) => {
  const app = await build(t)
  const { user } = await signUp(app, 'margarete@example.com')
  const { accessToken } = await logIn(app, 'margarete@example.com')
  const refused: [password: string, code: string][] = [
    ['seven77', 'PASSWORD_TOO_SHORT'], ['x'.repeat(129), 'PASSWORD_TOO_LONG'], ['password1', 'PASSWORD_COMMON'], ['my microts account', 'PASSWORD_COMMON'], ['Margarete 1234', 'PASSWORD_COMMON'], [PASSWORD, 'PASSWORD_UNCHANGED']
  ]
  for (const [password, code] of refused) await t.rejects(app.users.setPassword(user.id, password), { code })
  t.equal(await me(app, accessToken), 200)
})

test('where there is no such account, that is said', async (t) => {
  const app = await build(t)
  for (const [, act] of [...deeds, ['', (app, id) => app.users.enable(id)] satisfies Deed]) await t.rejects(act(app, randomUUID()), { code: 'NOT_FOUND' })
})

import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { build, logIn, post, signUp, sql } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

type Headers = { authorization: string }
const list = async (app: FastifyInstance, headers: Headers) => (await app.inject({ url: '/me/sessions', headers })).json().sessions
const remove = async (app: FastifyInstance, url: string, headers: Headers) => (await app.inject({ method: 'DELETE', url, headers })).statusCode
const statusOf = async (app: FastifyInstance, headers: Headers) => (await app.inject({ url: '/me', headers })).statusCode

test('the list shows the live sessions of the user and no token', async (t) => {
  const app = await build(t)
  const { user, email, headers } = await signUp(app)
  await signUp(app)
  const login = await app.inject({
    method: 'POST',
    url: '/auth/login',
    payload: { email, password: 'correct horse battery staple' },
    headers: { 'user-agent': 'x'.repeat(500) },
    remoteAddress: '2001:db8::1'
  })
  t.equal(login.statusCode, 200)

  const sessions = await list(app, headers)

  t.equal(sessions.length, 2)
  t.match(sessions.find(({ current }: { current: boolean }) => current), { ip: '127.0.0.1' })
  t.match(sessions.find(({ current }: { current: boolean }) => !current), { ip: '2001:db8::1', userAgent: 'x'.repeat(256) })
  for (const session of sessions) t.same(Object.keys(session).sort(), ['createdAt', 'current', 'expiresAt', 'id', 'ip', 'lastSeenAt', 'userAgent'])

  await sql("update sessions set idle_expires_at = now() - interval '1 second' where user_id = $1 and ip = '127.0.0.1'", [user.id])
  t.equal((await list(app, headers)).length, 1, 'what has expired is not listed')
})

test('one session is revoked, and nobody can revoke another one\'s', async (t) => {
  const app = await build(t)
  const [ada, eve] = [await signUp(app), await signUp(app)]
  const phone = await logIn(app, ada.email)
  const [{ id }] = (await list(app, phone.headers)).filter(({ current }: { current: boolean }) => current)

  t.equal(await remove(app, `/me/sessions/${id}`, eve.headers), 404)
  t.equal(await statusOf(app, phone.headers), 200)
  t.equal(await remove(app, `/me/sessions/${id}`, ada.headers), 204)
  t.equal(await statusOf(app, phone.headers), 401)
  t.equal(await statusOf(app, ada.headers), 200)
  t.equal(await remove(app, `/me/sessions/${id}`, ada.headers), 404, 'it is gone')
  t.equal(await remove(app, `/me/sessions/${randomUUID()}`, ada.headers), 404)
  t.equal(await remove(app, '/me/sessions/nonsense', ada.headers), 400)
})

test('all others are revoked, or all', async (t) => {
  const app = await build(t)
  const ada = await signUp(app)
  const eve = await signUp(app)
  const [phone, tablet] = [await logIn(app, ada.email), await logIn(app, ada.email)]

  t.equal(await remove(app, '/me/sessions', ada.headers), 204)
  t.same(await Promise.all([ada, phone, tablet, eve].map(({ headers }) => statusOf(app, headers))), [200, 401, 401, 200])

  t.equal(await remove(app, '/me/sessions?all=true', ada.headers), 204)
  t.same(await Promise.all([ada, eve].map(({ headers }) => statusOf(app, headers))), [401, 200])
})

test('logout ends the session at once and may be repeated', async (t) => {
  const app = await build(t)
  const { headers, refreshToken } = await signUp(app)
  const logout = () => post(app, '/auth/logout', {}, headers)

  t.same([(await logout()).statusCode, (await logout()).statusCode], [204, 204])
  t.equal(await statusOf(app, headers), 401)
  t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 401)
})

test('a revoked session stays revoked after a restart', async (t) => {
  const first = await build(t)
  const { headers } = await signUp(first)
  await post(first, '/auth/logout', {}, headers)
  await first.close()

  t.equal(await statusOf(await build(t), headers), 401)
})

test('a changed password ends the other sessions and is the one that counts', async (t) => {
  const app = await build(t)
  const { email, headers } = await signUp(app)
  const phone = await logIn(app, email)
  const change = (currentPassword: string, newPassword: string) =>
    app.inject({ method: 'PUT', url: '/me/password', headers, payload: { currentPassword, newPassword } })

  const wrong = await change('not the password', 'staple battery horse correct')
  t.match([wrong.statusCode, wrong.json().code], [401, 'INVALID_CREDENTIALS'])
  const same = await change('correct horse battery staple', 'correct horse battery staple')
  t.match([same.statusCode, same.json().code], [400, 'PASSWORD_UNCHANGED'])
  t.equal(await statusOf(app, phone.headers), 200)

  t.equal((await change('correct horse battery staple', 'staple battery horse correct')).statusCode, 204)
  t.same([await statusOf(app, headers), await statusOf(app, phone.headers)], [200, 401])
  t.equal((await post(app, '/auth/login', { email, password: 'correct horse battery staple' })).statusCode, 401)
  await t.resolves(logIn(app, email, 'staple battery horse correct'))
})

import { test } from 'tap'
import { bearer, build, logIn, PASSWORD, post, signUp, sql } from '../../helper.ts'
import { decodeJwt } from '../auth/forge.ts'
import { lock, waitFor } from '../db/locks.ts'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'

type Headers = Record<string, string>
const get = (app: FastifyInstance, headers: Headers, more: Headers = {}) => app.inject({ url: '/me', headers: { ...headers, ...more } })
const patch = (app: FastifyInstance, headers: Headers, payload: object | string, more: Headers = {}) =>
  app.inject({ method: 'PATCH', url: '/me', headers: { ...headers, 'content-type': 'application/json', ...more }, payload })
const remove = (app: FastifyInstance, headers: Headers, payload: object = { password: PASSWORD }, more: Headers = {}) =>
  app.inject({ method: 'DELETE', url: '/me', headers: { ...headers, ...more }, payload })

test('a profile is who the user is and nothing else, with a strong ETag that nobody else has', async (t) => {
  const app = await build(t)
  const [one, other] = [await signUp(app), await signUp(app)]
  const response = await get(app, one.headers)

  t.equal(response.statusCode, 200)
  t.same(response.json(), { user: one.user })
  t.same(Object.keys(one.user).sort(), ['createdAt', 'displayName', 'email', 'id', 'updatedAt'])
  t.match(one.user.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  for (const time of [one.user.createdAt, one.user.updatedAt]) t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.match(response.headers.etag, /^"[\w-]{20,}"$/)
  t.equal(response.headers['cache-control'], 'private, no-cache')
  t.equal((await get(app, one.headers)).headers.etag, response.headers.etag, 'the same as long as nothing changes')

  await sql('update users set updated_at = $1', [new Date()])
  t.not((await get(app, other.headers)).headers.etag, (await get(app, one.headers)).headers.etag, 'not even one that changed at the same time')
  const head = await app.inject({ method: 'HEAD', url: '/me', headers: one.headers })
  t.match(head, { statusCode: 200, body: '', headers: { etag: String } })
})

test('If-None-Match gives 304 to whoever may know, and to nobody else', async (t) => {
  const app = await build(t)
  const { headers, accessToken } = await signUp(app)
  const etag = String((await get(app, headers)).headers.etag)

  for (const ifNoneMatch of [etag, `W/${etag}`, `"x", ${etag}`, `"x",W/${etag},"y"`, '*', ' * ']) {
    const response = await get(app, headers, { 'if-none-match': ifNoneMatch })
    t.match(response, { statusCode: 304, body: '', headers: { etag, 'cache-control': 'private, no-cache' } }, ifNoneMatch)
  }
  for (const ifNoneMatch of ['"x"', etag.slice(1, -1), '', `${etag.slice(0, -1)}x"`, 'W/"x", "y"']) {
    t.equal((await get(app, headers, { 'if-none-match': ifNoneMatch })).statusCode, 200, ifNoneMatch)
  }
  t.equal((await get(app, {}, { 'if-none-match': etag })).statusCode, 401)
  t.equal((await get(app, bearer(`${accessToken}x`), { 'if-none-match': '*' })).statusCode, 401)
  await app.inject({ method: 'POST', url: '/auth/logout', headers })
  t.equal((await get(app, headers, { 'if-none-match': etag })).statusCode, 401, 'a revoked token')
})

test('a display name is trimmed, 1 to 100 characters long, and null clears it', async (t) => {
  const app = await build(t)
  const { headers, user } = await signUp(app)
  const accepted: [given: string | null, kept: string | null][] = [
    ['Ada', 'Ada'], ['  Ada Lovelace \u00a0', 'Ada Lovelace'], ['x', 'x'], ['\u{1f511}'.repeat(100), '\u{1f511}'.repeat(100)], ['\u0410\u0434\u0430', '\u0410\u0434\u0430'],
    ["Robert'); drop table users; --", "Robert'); drop table users; --"], ['<b>{{7*7}}</b> %s \\ "', '<b>{{7*7}}</b> %s \\ "'], [null, null]
  ]
  for (const [given, kept] of accepted) {
    const response = await patch(app, headers, { displayName: given })
    t.match(response, { statusCode: 200, headers: { etag: /^"/, 'cache-control': 'private, no-cache' } })
    t.equal(response.json().user.displayName, kept)
    t.same((await get(app, headers)).json(), response.json())
  }
  const before = (await get(app, headers)).json()
  const refused: unknown[] = [
    { displayName: '' }, { displayName: '   ' }, { displayName: '\u00a0\u3000' }, { displayName: 'x'.repeat(101) }, { displayName: '\u{1f511}'.repeat(101) }, { displayName: 'a\u0000b' }, { displayName: 'a\nb' },
    { displayName: 'a\u001b[31mb' }, { displayName: 'a\u007fb' }, { displayName: 'a\u0085b' }, { displayName: 'a\u2028b' }, { displayName: 'a\u202eb' }, { displayName: '\u2066a' }, { displayName: '\u200b' }, { displayName: ' \u200d\u2060' }, { displayName: 7 }, { displayName: ['a'] }, { displayName: { a: 1 } }, { displayName: true },
    {}, { displayName: 'Ada', role: 'admin' }, { displayName: 'Ada', email: 'eve@example.com' }, { displayName: 'Ada', id: user.id }, { email: 'eve@example.com' }, [], null, 'Ada'
  ]
  for (const payload of [...refused.map((body) => JSON.stringify(body)), '{"displayName":"a\\ud800b"}', '{"displayName":"a"', '']) {
    t.equal((await patch(app, headers, payload)).statusCode, 400, encodeURI(payload).slice(0, 60))
  }
  t.same((await get(app, headers)).json(), before)

  const registered = await post(app, '/auth/register', { email: 'named@example.com', password: PASSWORD, displayName: '  Eve ' })
  t.equal(registered.json().user.displayName, 'Eve')
  t.equal((await post(app, '/auth/register', { email: 'unnamed@example.com', password: PASSWORD, displayName: ' ' })).statusCode, 400)
})

test('each change is a later version, whatever the clock says', async (t) => {
  const app = await build(t)
  const { headers, user } = await signUp(app)
  const [row] = await sql<{ ahead: Date }>("update users set updated_at = date_trunc('milliseconds', now() + interval '1 hour') where id = $1 returning updated_at as ahead", [user.id])
  const { displayName, ...rest } = (await patch(app, headers, { displayName: 'Ada' })).json().user
  t.equal(displayName, 'Ada')
  t.equal(rest.updatedAt, new Date(row!.ahead.getTime() + 1).toISOString())
  t.equal(rest.createdAt, user.createdAt)
})

test('If-Match changes the version it names or nothing', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  const first = String((await get(app, headers)).headers.etag)
  const second = String((await patch(app, headers, { displayName: 'second' }, { 'if-match': first })).headers.etag)
  t.not(second, first)

  for (const ifMatch of [first, `W/${second}`, '"x"', second.slice(1, -1), '"x", "y"']) {
    t.match((await patch(app, headers, { displayName: 'lost' }, { 'if-match': ifMatch })).json(), { status: 412, code: 'PRECONDITION_FAILED' }, ifMatch)
  }
  t.equal((await get(app, headers)).json().user.displayName, 'second')
  t.equal((await patch(app, headers, { displayName: 'third' }, { 'if-match': `"x", ${second}` })).statusCode, 200)
  t.equal((await patch(app, headers, { displayName: 'fourth' }, { 'if-match': '*' })).statusCode, 200)
})

test('of 20 changes to one version at once, on two replicas, one wins', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  const { headers } = await signUp(a)
  const etag = String((await get(a, headers)).headers.etag)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => patch(i % 2 ? a : b, headers, { displayName: `name ${i}` }, { 'if-match': etag })))

  const won = answers.filter(({ statusCode }) => statusCode === 200)
  t.equal(won.length, 1)
  t.equal(answers.filter(({ statusCode }) => statusCode === 412).length, 19)
  t.same((await get(a, headers)).json(), won[0]!.json())

  const unconditional = await Promise.all(Array.from({ length: 20 }, (_, i) => patch(a, headers, { displayName: `name ${i}` }, i % 2 ? { 'if-match': '*' } : {})))
  t.same(new Set(unconditional.map(({ statusCode }) => statusCode)), new Set([200]), 'any version will do for the others')
  t.equal(new Set(unconditional.map((answer) => answer.headers.etag)).size, 20)
})

test('a deleted account is gone with all that belongs to it, and its tokens are dead', async (t) => {
  const [app, replica] = [await build(t), await build(t)]
  const { user, email, headers, refreshToken } = await signUp(app)
  const [other, stranger] = [await logIn(app, email), await signUp(app)]
  for (const payload of [{ password: 'wrong' }, { password: PASSWORD.toUpperCase() }]) t.match((await remove(app, headers, payload)).json(), { status: 401, code: 'INVALID_CREDENTIALS' })
  for (const payload of [{}, { password: '' }, { password: 1 }, { password: PASSWORD, id: stranger.user.id }]) t.equal((await remove(app, headers, payload)).statusCode, 400)
  t.equal((await get(app, headers)).statusCode, 200, 'until the password is right')

  t.match(await remove(app, headers), { statusCode: 204, body: '' })
  t.same(await sql('select (select count(*)::int from users where id = $1) as users, (select count(*)::int from sessions where user_id = $1) as sessions', [user.id]), [{ users: 0, sessions: 0 }])
  for (const dead of [headers, other.headers]) {
    for (const url of ['/me', '/me/sessions']) t.match((await app.inject({ url, headers: dead })).json(), { status: 401, code: 'UNAUTHORIZED' })
  }
  for (const dead of [refreshToken, other.refreshToken]) t.equal((await post(app, '/auth/refresh', { refreshToken: dead })).statusCode, 401)
  await replica.revocations.refresh()
  t.equal((await replica.inject({ url: '/me/sessions', headers: other.headers })).statusCode, 401, 'on the next replica too')
  t.equal((await remove(app, headers)).statusCode, 401)
  t.match((await post(app, '/auth/login', { email, password: PASSWORD })).json(), { code: 'INVALID_CREDENTIALS' })

  t.equal((await get(app, stranger.headers)).statusCode, 200)
  const again = await post(app, '/auth/register', { email, password: PASSWORD })
  t.equal(again.statusCode, 201, 'the address is free')
  t.not(again.json().user.id, user.id)
})

for (const [what, change] of Object.entries<(app: FastifyInstance, headers: Headers, etag: string) => Promise<LightMyRequestResponse>>({
  change: (app, headers, etag) => patch(app, headers, { displayName: 'late' }, { 'if-match': etag }),
  deletion: (app, headers, etag) => remove(app, headers, undefined, { 'if-match': etag })
})) {
  test(`a version that goes while its ${what} waits for the row is refused, and was no wrong password`, async (t) => {
    const app = await build(t, { RATE_LIMIT_LOGIN_MAX: '1' })
    const { user, headers } = await signUp(app)
    const { etag } = (await get(app, headers)).headers
    const { commit } = await lock(t, `update users set updated_at = updated_at + interval '1 second' where id = '${user.id}'`)
    const changed = change(app, headers, String(etag))
    await waitFor(1)
    await commit()
    t.match((await changed).json(), { status: 412, code: 'PRECONDITION_FAILED' })
    t.ok((await change(app, headers, '*')).statusCode < 300)
  })
}

for (const [what, change] of Object.entries<(app: FastifyInstance, headers: Headers) => Promise<LightMyRequestResponse>>({
  'change of password': (app, headers) => app.inject({ method: 'PUT', url: '/me/password', headers, payload: { currentPassword: PASSWORD, newPassword: `${PASSWORD} horse` } }),
  deletion: remove
})) {
  test(`a session that ends while its ${what} waits for the row does nothing any more`, async (t) => {
    const app = await build(t)
    const { user, email, headers, accessToken } = await signUp(app)
    const owner = await logIn(app, email)
    const { commit } = await lock(t, `select from users where id = '${user.id}' for no key update`)
    const changed = change(app, headers)
    await waitFor(1)
    t.equal((await app.inject({ method: 'DELETE', url: `/me/sessions/${decodeJwt(accessToken).sid}`, headers: owner.headers })).statusCode, 204)
    await commit()

    t.match((await changed).json(), { status: 401, code: 'UNAUTHORIZED' })
    t.equal((await get(app, owner.headers)).statusCode, 200)
    await logIn(app, email)
  })
}

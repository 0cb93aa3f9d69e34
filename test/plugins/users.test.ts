import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { build, logIn, PASSWORD, post, signUp, sql } from '../helper.ts'
import { decodeJwt } from './auth/forge.ts'
import type { FastifyInstance } from 'fastify'
import type { Response } from 'light-my-request'

const NEW_PASSWORD = 'another fine password'
const change = (app: FastifyInstance, headers: Record<string, string>) => app.inject({ method: 'PUT', url: '/me/password', headers, payload: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } })
const remove = (app: FastifyInstance, headers: Record<string, string>) => app.inject({ method: 'DELETE', url: '/me', headers, payload: { password: PASSWORD } })

/** An answer without what tells one request from the next: ids, time, and how much of a limit is left. */
function bare ({ statusCode, headers, body }: Response) {
  const { 'x-request-id': _, 'x-correlation-id': __, date, ratelimit, ...rest } = headers
  const { requestId, correlationId, ...problem } = JSON.parse(body)
  return { statusCode, headers: rest, problem }
}

test('of 50 registrations of one address at once, in all spellings, one wins', async (t) => {
  const app = await build(t)
  const origin = await app.listen({ port: 0 })
  const spellings = ['race@example.com', 'RACE@example.com', ' Race@Example.Com ', '\uff52ace@example.com', 'race@example\u3002com']
  const statuses = await Promise.all(Array.from({ length: 50 }, async (_, i) => {
    const body = JSON.stringify({ email: spellings[i % spellings.length], password: PASSWORD })
    const response = await fetch(`${origin}/auth/register`, { method: 'POST', headers: { 'content-type': 'application/json', connection: 'close' }, body })
    return response.status
  }))

  t.equal(statuses.filter((status) => status === 201).length, 1)
  t.equal(statuses.filter((status) => status === 409).length, 49)
  t.same(await sql("select count(*)::int as users, (select count(*)::int from sessions) as sessions from users where email_canonical = 'race@example.com'"), [{ users: 1, sessions: 1 }])
  for (const email of spellings) t.equal((await post(app, '/auth/login', { email, password: PASSWORD })).statusCode, 200, encodeURI(email))
})

test('an unknown address, a wrong password and a disabled account get the same answer', async (t) => {
  const app = await build(t)
  const [{ email }, disabled] = [await signUp(app), await signUp(app)]
  await sql('update users set disabled_at = now() where id = $1', [disabled.user.id])

  const answers = []
  for (const [account, password] of [[email, 'wrong password'], ['nobody@example.com', PASSWORD], [disabled.email, PASSWORD], [disabled.email, 'wrong password']]) {
    answers.push(bare(await post(app, '/auth/login', { email: account, password })))
  }
  t.match(answers[0], { statusCode: 401, problem: { code: 'INVALID_CREDENTIALS' }, headers: { 'www-authenticate': /^Bearer realm="[^"]+"$/, 'cache-control': 'no-store' } })
  for (const answer of answers) t.same(answer, answers[0])
})

test('a disabled account is not let in again by a refresh, proves nothing by its password, and comes back when it is enabled', async (t) => {
  const app = await build(t)
  const { email, user, refreshToken, headers } = await signUp(app)
  await sql('update users set disabled_at = now() where id = $1', [user.id])
  for (const answer of [await change(app, headers), await remove(app, headers)]) t.match(answer.json(), { status: 401, code: 'INVALID_CREDENTIALS' })
  t.equal((await post(app, '/auth/refresh', { refreshToken })).json().code, 'INVALID_REFRESH_TOKEN')
  await sql('update users set disabled_at = null where id = $1', [user.id])
  t.equal((await post(app, '/auth/login', { email, password: PASSWORD })).statusCode, 200)
})

test('an account is not made when its first session cannot be opened', async (t) => {
  const app = await build(t)
  const email = 'halfway@example.com'
  await sql('alter table sessions add constraint broken check (user_agent is null) not valid')
  const response = await post(app, '/auth/register', { email, password: PASSWORD })
  t.match(response.json(), { status: 500, code: 'INTERNAL_SERVER_ERROR', detail: 'Something went wrong on our side' })
  t.same(await sql('select id from users where email = $1', [email]), [])

  await sql('alter table sessions drop constraint broken')
  t.equal((await post(app, '/auth/register', { email, password: PASSWORD })).statusCode, 201)
})

test('nobody chooses an id, a session or a role', async (t) => {
  const app = await build(t)
  const { email, user } = await signUp(app)
  const id = '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'
  for (const extra of [{ id }, { userId: id }, { sessionId: id }, { sid: id }, { role: 'admin' }, { isAdmin: true }, { emailVerified: true }, { epoch: 9 }, { refreshToken: 'x' }]) {
    const [field] = Object.keys(extra)
    for (const [url, body] of [['/auth/register', { email: 'extra@example.com' }], ['/auth/login', { email }]] as const) {
      const response = await post(app, url, { ...body, password: PASSWORD, ...extra })
      t.match(response.json(), { code: 'VALIDATION_ERROR', errors: [{ pointer: `/${field}`, code: 'additionalProperties' }] }, `${url} ${field}`)
    }
  }
  t.same(await sql("select id from users where email = 'extra@example.com'"), [])

  const first = await logIn(app, email)
  const claims = decodeJwt(first.accessToken)
  const headers = { ...first.headers, cookie: `sid=${claims.sid}`, 'x-session-id': String(claims.sid), 'x-user-id': id }
  const second = decodeJwt((await post(app, '/auth/login', { email, password: PASSWORD }, headers)).json().accessToken)
  t.equal(second.sub, user.id)
  t.not(second.sid, claims.sid)
})

test('a change of password lets the new one in, the old one not, and ends the other sessions', async (t) => {
  const app = await build(t)
  const { email, headers, refreshToken } = await signUp(app)
  const other = await logIn(app, email)

  t.equal((await change(app, headers)).statusCode, 204)
  t.equal((await post(app, '/auth/login', { email, password: PASSWORD })).statusCode, 401)
  t.equal((await post(app, '/auth/login', { email, password: NEW_PASSWORD })).statusCode, 200)
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
  t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 200)
  t.equal((await app.inject({ url: '/me', headers: other.headers })).statusCode, 401)
  t.equal((await post(app, '/auth/refresh', { refreshToken: other.refreshToken })).statusCode, 401)
})

test('a change needs the current password, and another one', async (t) => {
  const app = await build(t)
  const { email, headers } = await signUp(app)
  const put = (currentPassword: string, newPassword: string) => app.inject({ method: 'PUT', url: '/me/password', headers, payload: { currentPassword, newPassword } })
  t.match((await put('wrong', NEW_PASSWORD)).json(), { status: 401, code: 'INVALID_CREDENTIALS' })
  t.match((await put(PASSWORD, PASSWORD)).json(), { status: 400, code: 'PASSWORD_UNCHANGED' })
  t.match((await put(PASSWORD, PASSWORD.replace('c', '\uff43'))).json(), { status: 400, code: 'PASSWORD_UNCHANGED' }, 'the same in another spelling')
  t.equal((await post(app, '/auth/login', { email, password: PASSWORD })).statusCode, 200)
})

test('whoever proved the password before it changed has lost: login, change and deletion alike', async (t) => {
  const app = await build(t, { HASH_CONCURRENCY: '1' })
  const { gate } = app.passwords
  const hold = () => {
    const [begun, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    gate.pass(() => {
      begun.resolve()
      return end.promise
    })
    return { begun: begun.promise, end: end.resolve }
  }
  const queued = async () => { while (gate.queueLength === 0) await turn() }

  // How many hashes each computes: its account has been read before the first.
  const attempts: [name: string, hashes: 1 | 2, ask: (account: Awaited<ReturnType<typeof signUp>>) => Promise<Response>][] = [
    ['login', 1, ({ email }) => post(app, '/auth/login', { email, password: PASSWORD })],
    ['change', 2, ({ headers }) => change(app, headers)],
    ['deletion', 1, ({ headers }) => remove(app, headers)]
  ]
  for (const [name, hashes, ask] of attempts) {
    const account = await signUp(app)
    let held = hold()
    await held.begun
    const answer = ask(account)
    await queued()
    if (hashes === 2) {
      const next = hold()
      held.end()
      await next.begun
      await queued()
      held = next
    }
    await sql("update users set epoch = epoch + 1, password_hash = 'changed' where id = $1", [account.user.id])
    held.end()
    t.match((await answer).json(), { status: 401, code: 'INVALID_CREDENTIALS' }, name)
    t.same(await sql('select password_hash as hash, (select count(*)::int from sessions where user_id = users.id) as sessions from users where id = $1', [account.user.id]), [{ hash: 'changed', sessions: 1 }], name)
  }
})

test('an account deleted behind the back of a session is a 401, never a 404 or 500', async (t) => {
  const app = await build(t)
  const { user, headers } = await signUp(app)
  await sql('delete from users where id = $1', [user.id])
  const rename = (more: Record<string, string>) => app.inject({ method: 'PATCH', url: '/me', headers: { ...headers, ...more }, payload: { displayName: 'x' } })
  const answers = [await app.inject({ url: '/me', headers }), await rename({}), await rename({ 'if-match': '*' }), await rename({ 'if-match': '"x"' }), await change(app, headers), await remove(app, headers)]
  for (const answer of answers) t.match(answer.json(), { status: 401, code: 'UNAUTHORIZED' })
})

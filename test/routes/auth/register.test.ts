import { test } from 'tap'
import { countHashes } from '../../count-hashes.ts'
import { build, databaseUrl, HURRIED, PASSWORD, post, signUp } from '../../helper.ts'
import { isProblem } from '../../problem.ts'
import { startProxy } from '../../proxy.ts'

test('a registration opens a session', async (t) => {
  const app = await build(t)
  const response = await post(app, '/auth/register', { email: ' Ada@Example.com ', password: PASSWORD, displayName: ' Ada ' })

  t.equal(response.statusCode, 201)
  for (const prefix of ['', '/identity']) t.equal(new URL(String(response.headers.location), `http://localhost${prefix}/auth/register`).pathname, `${prefix}/me`)
  t.match(response.json(), { user: { email: 'Ada@Example.com', displayName: 'Ada' }, tokenType: 'Bearer', expiresIn: 900, refreshExpiresIn: 604_800 })
  const me = await app.inject({ url: '/me', headers: { authorization: `Bearer ${response.json().accessToken}` } })
  t.same(me.json().user, response.json().user)
})

test('an address that has an account is refused, in any spelling', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)

  for (const spelling of [email, email.toUpperCase(), `  ${email} `]) {
    const response = await post(app, '/auth/register', { email: spelling, password: PASSWORD })
    t.equal(response.statusCode, 409)
    t.equal(response.json().code, 'EMAIL_TAKEN')
  }
})

test('while PostgreSQL is known to be away no hash is computed for it', async (t) => {
  const database = await startProxy(t, databaseUrl)
  const app = await build(t, { ...HURRIED, DATABASE_URL: database.url })
  await database.set('refuse')
  while (app.breakers.stateOf('database') !== 'open') await t.rejects(app.db.query('select 1'))
  const hashes = await countHashes(async () => isProblem(t, await post(app, '/auth/register', { email: 'ada@example.com', password: PASSWORD }), 503, 'SERVICE_UNAVAILABLE'))
  t.equal(hashes, 0)
})

import { Readable } from 'node:stream'
import pg from 'pg'
import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, logIn, PASSWORD, signUp, sql } from '../../helper.ts'

const IN_PARTS = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
const NEW_PASSWORD = 'staple battery horse correct'
const OPERATIONS = [
  ['PATCH', '/me', { displayName: 'Ada' }],
  ['DELETE', '/me', { password: PASSWORD }],
  ['PUT', '/me/password', { currentPassword: PASSWORD, newPassword: NEW_PASSWORD }],
  ['DELETE', '/me/sessions', {}],
  ['DELETE', '/me/sessions/:id', {}]
] as const

test('a session that ends while the body is coming does nothing any more', async (t) => {
  const app = await build(t)
  for (const [method, path, body] of OPERATIONS) {
    const { user, email, accessToken, headers } = await signUp(app)
    const other = await logIn(app, email)
    const [sessionId, otherId] = [accessToken, other.accessToken].map(sessionOf)
    const payload = interrupted(JSON.stringify(body), () => app.sessions.revoke(sessionId!, user.id))
    const late = await app.inject({ method, url: path.replace(':id', otherId!), headers: { ...headers, ...IN_PARTS }, payload })
    t.match(late, { statusCode: 401, body: /"code":"UNAUTHORIZED"/ }, `${method} ${path}`)

    const still = await app.inject({ url: '/me', headers: other.headers })
    t.match([still.statusCode, still.json().user?.displayName], [200, null], 'nothing was done')
    await logIn(app, email)
  }
})

test('whether it has ended is asked once more, and 503 where nobody can tell, though it could be done', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  const other = new pg.Client(databaseUrl)
  await other.connect()
  const payload = interrupted(JSON.stringify({ displayName: 'Ada' }), async () => {
    await other.query('begin; lock table revocations')
    await eventually(() => !app.revocations.isFresh())
  })
  const late = await app.inject({ method: 'PATCH', url: '/me', headers: { ...headers, ...IN_PARTS }, payload })
  await other.end()
  t.match(late, { statusCode: 503, body: /"code":"SERVICE_UNAVAILABLE"/ })
  t.same(await sql('select from users where display_name is not null'), [])
})

/** A body that is read when the guard has let the head in; meanwhile something happens. */
function interrupted (text: string, happen: () => Promise<unknown>) {
  return Readable.from((async function * () {
    yield text.slice(0, 1)
    await happen()
    yield text.slice(1)
  })())
}

const sessionOf = (accessToken: string): string => JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString()).sid

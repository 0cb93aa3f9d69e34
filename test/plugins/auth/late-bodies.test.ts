import { Readable } from 'node:stream'
import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, logIn, PASSWORD, signUp } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'

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
    const late = await app.inject({ method, url: path.replace(':id', otherId!), headers: { ...headers, 'content-type': 'application/json' }, payload })
    t.match(late, { statusCode: 401, body: /"code":"UNAUTHORIZED"/ }, `${method} ${path}`)

    const still = await app.inject({ url: '/me', headers: other.headers })
    t.match([still.statusCode, still.json().user?.displayName], [200, null], 'nothing was done')
    await logIn(app, email)
  }
})

test('whether it has ended is asked once more, and 503 where nobody can tell', async (t) => {
  const way = await startProxy(t, databaseUrl)
  const app = await build(t, { DATABASE_URL: way.url })
  const { headers } = await signUp(app)
  const payload = interrupted(JSON.stringify({ displayName: 'Ada' }), async () => {
    await way.set('refuse')
    await eventually(() => !app.revocations.isFresh())
  })
  const late = await app.inject({ method: 'PATCH', url: '/me', headers: { ...headers, 'content-type': 'application/json' }, payload })
  t.match(late, { statusCode: 503, body: /"code":"SERVICE_UNAVAILABLE"/ })
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

import { mock } from 'node:test'
import { test } from 'tap'
import { bearer, build, logIn, PASSWORD, post, signUp } from '../../helper.ts'
import type { FastifyInstance, InjectOptions } from 'fastify'

// What is undefined here has its default, which the helper raises.
const ADDRESS = { RATE_LIMIT_MAX: undefined }
const A = '203.0.113.1'
const B = '203.0.113.2'

const ask = (app: FastifyInstance, remoteAddress: string, options: InjectOptions = { url: '/api' }) => app.inject({ remoteAddress, ...options })
const me = (app: FastifyInstance, remoteAddress: string, accessToken: string) => ask(app, remoteAddress, { url: '/me', headers: bearer(accessToken) })
const exhaust = (app: FastifyInstance, remoteAddress: string, url = '/api') => Promise.all(Array.from({ length: 60 }, () => ask(app, remoteAddress, { url })))

const ITEM = /^"([a-z-]+)"((?:;[a-z*][a-z0-9_.*-]*=\d{1,15})+)$/

/** A structured field (RFC 9651) of one string with integer parameters, as in draft-ietf-httpapi-ratelimit-headers. */
function parse (field: unknown) {
  const [, name, parameters = ''] = ITEM.exec(String(field)) ?? []
  return { name, ...Object.fromEntries(parameters.split(';').filter(Boolean).map((pair) => pair.split('=')).map(([key, value]) => [key, Number(value)])) }
}

const PUBLIC: InjectOptions[] = [
  { url: '/api' }, { url: '/api?page=2' }, { url: '/api?page=3' }, { url: '/api/' }, { url: '//api' }, { url: '/API' }, { url: '/api', method: 'HEAD' },
  { url: '/api', method: 'DELETE' }, { url: '/nothing', method: 'OPTIONS' }, { url: '/nothing' }, { url: '/nothing/else', method: 'POST' },
  { url: '/status' }, { url: '/.well-known/jwks.json' }, { url: '/auth/login' }, { url: '/health', method: 'POST' }, { url: '/docs/nothing.js' },
  { url: '/me' }, { url: '/me', method: 'HEAD' }, { url: '/me', method: 'POST' }, { url: '/me/', headers: bearer('a.b.c') }, { url: '/me', headers: { authorization: 'Basic YTpi' } },
  { url: '/me/sessions', headers: bearer('a.b.c') }, { url: '/me/sessions/1', method: 'DELETE', headers: bearer('') }, { url: '/auth/logout', method: 'POST' },
  { url: '/auth/login', method: 'POST', payload: {} }, { url: '/auth/login', method: 'POST', payload: '{', headers: { 'content-type': 'application/json' } },
  { url: '/auth/register', method: 'POST', payload: { email: 1 } }, { url: '/auth/register', method: 'POST', payload: 'x', headers: { 'content-type': 'text/plain' } },
  { url: '/auth/login', method: 'POST', payload: {}, headers: { 'content-encoding': 'gzip' } }, { url: '/me', method: 'PATCH', payload: {}, headers: { 'content-encoding': 'gzip' } }
]

test('whatever is asked without a valid token is one of the 60 requests a minute of its address', async (t) => {
  const app = await build(t, ADDRESS)

  for (let i = 0; i < 60; i++) {
    const options = PUBLIC[i % PUBLIC.length]!
    const { statusCode, headers } = await ask(app, A, options)
    t.not(statusCode, 429, JSON.stringify(options))
    t.same(parse(headers['ratelimit-policy']), { name: 'address', q: 60, w: 60 })
    t.match(parse(headers.ratelimit), { name: 'address', r: 59 - i })
  }
  for (const options of PUBLIC) t.equal((await ask(app, A, options)).statusCode, 429, JSON.stringify(options))
  t.equal((await ask(app, B)).statusCode, 200, 'another address has its own')
})

test('a refusal is a problem document that says how long to wait', async (t) => {
  const app = await build(t, ADDRESS)
  await exhaust(app, A)
  const { headers, ...response } = await ask(app, A)

  t.equal(response.statusCode, 429)
  t.match(headers['content-type'], /^application\/problem\+json/)
  t.match(response.json(), { status: 429, code: 'RATE_LIMIT_EXCEEDED', instance: '/api', requestId: String })
  t.same(parse(headers['ratelimit-policy']), { name: 'address', q: 60, w: 60 })
  t.match(parse(headers.ratelimit), { name: 'address', r: 0, t: Number(headers['retry-after']) })
  t.match(headers['retry-after'], /^[1-9]\d*$/)
  t.ok(Number(headers['retry-after']) <= 60)
})

test('a wait of less than a second is said as one second', async (t) => {
  const app = await build(t, { RATE_LIMIT_MAX: '1', RATE_LIMIT_WINDOW: '1' })
  await ask(app, A)
  t.match(await ask(app, A), { statusCode: 429, headers: { 'retry-after': '1' } })
})

test('of 20 times as many requests at once exactly as many pass as the limit says', async (t) => {
  const app = await build(t, ADDRESS)
  const answers = await Promise.all(Array.from({ length: 1200 }, (_, i) => ask(app, A, PUBLIC[i % 3])))
  t.equal(answers.filter(({ statusCode }) => statusCode !== 429).length, 60)
  t.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 1140)
})

test('probes, preflights and the documentation are not limited, and cost the address nothing', async (t) => {
  const app = await build(t, ADDRESS)
  const exempt: InjectOptions[] = [{ url: '/health' }, { url: '/health', method: 'HEAD' }, { url: '/ready' }, { url: '/docs/json' }, { url: '/docs/yaml' }, { url: '/docs' }, { url: '/docs/static/swagger-ui.css' }]
  for (let i = 0; i < 2; i++) {
    const preflight = await ask(app, A, { url: '/me', method: 'OPTIONS' })
    t.match([preflight.statusCode, preflight.headers.ratelimit], [204, undefined])
    for (const options of exempt) {
      const { statusCode, headers } = await ask(app, A, options)
      t.equal(statusCode, 200, String(options.url))
      t.equal(headers.ratelimit, undefined)
    }
    t.same((await exhaust(app, A)).map(({ statusCode }) => statusCode), Array(60).fill(i === 0 ? 200 : 429))
  }
})

test('a valid token is one of the 300 requests a minute of its user, from wherever, and costs no address anything', async (t) => {
  const app = await build(t, { ...ADDRESS, RATE_LIMIT_USER_MAX: undefined })
  const { accessToken, email } = await signUp(app)
  const [other, stranger] = [await logIn(app, email), await signUp(app)]
  const statuses = new Set<number>()
  for (let i = 0; i < 300; i++) {
    const { statusCode, headers } = await me(app, `203.0.113.${i % 5}`, i % 2 ? accessToken : other.accessToken)
    statuses.add(statusCode)
    if (i === 0 || i === 299) t.match(parse(headers.ratelimit), { name: 'user', r: 299 - i })
  }
  t.same([...statuses], [200])

  const refused = await me(app, B, accessToken)
  t.equal(refused.statusCode, 429)
  t.same(parse(refused.headers['ratelimit-policy']), { name: 'user', q: 300, w: 60 })
  t.match(parse((await ask(app, B)).headers.ratelimit), { name: 'address', r: 59 })
  t.equal((await me(app, B, stranger.accessToken)).statusCode, 200)
})

test('who has used up what a user has leaves each session what it needs to end the others', async (t) => {
  const app = await build(t, { RATE_LIMIT_USER_MAX: '2' })
  const thief = await signUp(app)
  const [one, owner] = [await logIn(app, thief.email), await logIn(app, thief.email)]
  for (const status of [200, 200, 429]) t.equal((await app.inject({ url: '/me', headers: thief.headers })).statusCode, status)
  const end = (url: string, headers: Record<string, string>) => app.inject({ method: url === '/auth/logout' ? 'POST' : 'DELETE', url, headers })
  for (const status of [404, 404, 429]) t.equal((await end('/me/sessions/01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', thief.headers)).statusCode, status)

  t.equal((await app.inject({ url: '/me', headers: owner.headers })).statusCode, 429, 'what reads counts for the user')
  t.equal((await end('/auth/logout', one.headers)).statusCode, 204)
  t.equal((await app.inject({ method: 'PUT', url: '/me/password', headers: owner.headers, payload: { currentPassword: PASSWORD, newPassword: 'staple battery horse' } })).statusCode, 204)
  t.equal((await end('/me/sessions', owner.headers)).statusCode, 204)
  t.equal((await end('/me/sessions', owner.headers)).statusCode, 429)
  t.equal((await end('/me/sessions', thief.headers)).statusCode, 401)
})

test('an exhausted address does not stop a token that was verified before; others are refused unread', async (t) => {
  const app = await build(t, ADDRESS)
  const { accessToken: known, email } = await signUp(app)
  const { accessToken: fresh } = await logIn(app, email)
  await me(app, B, known)
  await exhaust(app, A)

  t.equal((await me(app, A, known)).statusCode, 200)
  t.equal((await me(app, A, 'a.b.c')).statusCode, 429)
  t.equal((await me(app, A, fresh)).statusCode, 429)
  t.equal((await me(app, A, fresh)).statusCode, 429, 'had it been verified it would be known now')
  t.equal((await me(app, B, fresh)).statusCode, 200)
  t.equal((await me(app, A, fresh)).statusCode, 200)
})

test('a token that was verified before is known in whatever spelling its header comes', async (t) => {
  for (const [first, then] of [['Bearer ', 'bearer   '], ['bearer   ', 'Bearer ']] as const) {
    const app = await build(t, ADDRESS)
    const { accessToken } = await signUp(app)
    const spelled = (address: string, scheme: string) => ask(app, address, { url: '/me', headers: { authorization: `${scheme}${accessToken}` } })
    await spelled(B, first)
    await exhaust(app, A)
    t.equal((await spelled(A, then)).statusCode, 200, then)
  }
})

test('of many bad tokens at once as many are answered as the address has left', async (t) => {
  const app = await build(t, ADDRESS)
  const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => me(app, A, `a.b.${i}`)))
  t.equal(answers.filter(({ statusCode }) => statusCode === 401).length, 60)
  t.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 240)
})

test('a token of a revoked session counts for the address, at logout too', async (t) => {
  const app = await build(t, ADDRESS)
  const { accessToken, headers } = await signUp(app)
  const logOut = () => ask(app, A, { url: '/auth/logout', method: 'POST', headers })
  t.match(parse((await logOut()).headers.ratelimit), { name: 'user' })

  const again = await logOut()
  t.equal(again.statusCode, 204)
  t.match(parse(again.headers.ratelimit), { name: 'address', r: 59 })
  const revoked = await me(app, A, accessToken)
  t.equal(revoked.statusCode, 401)
  t.match(parse(revoked.headers.ratelimit), { name: 'address', r: 58 })
  await exhaust(app, A)
  t.equal((await me(app, A, accessToken)).statusCode, 429)
  t.equal((await logOut()).statusCode, 429)
})

test('of several limits the answer tells the one that is nearest to its end', async (t) => {
  const app = await build(t, { RATE_LIMIT_MAX: '9', RATE_LIMIT_REGISTER_MAX: '5' })
  const register = (i: number) => post(app, '/auth/register', { email: `user${i}@example.com`, password: 'correct horse battery staple' })
  t.match((await register(1)).headers, { 'ratelimit-policy': '"register";q=5;w=900', ratelimit: '"register";r=4;t=900' })
  for (let i = 0; i < 5; i++) await app.inject('/api')
  t.match((await register(2)).headers, { 'ratelimit-policy': '"address";q=9;w=60', ratelimit: /^"address";r=2;t=\d+$/ })
})

test('free keys are pruned every minute, and no slot that is taken', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const app = await build(t, ADDRESS)
  await exhaust(app, A)
  mock.timers.tick(60_000)
  t.equal((await ask(app, A)).statusCode, 429)
})

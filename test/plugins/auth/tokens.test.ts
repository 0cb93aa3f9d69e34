import { once } from 'node:events'
import { request } from 'node:http'
import { mock } from 'node:test'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { bearer, build, logIn, post, settings, signUp } from '../../helper.ts'
import { decodeJwt, forge, jwk, kidOf, me } from './forge.ts'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'

const seconds = () => Math.floor(Date.now() / 1000)
const recall = (app: FastifyInstance, token: string) => app.tokens.recall({ headers: bearer(token) } as FastifyRequest)

test('an issued token says who, on which session, for whom and for how long, and nothing personal', async (t) => {
  const app = await build(t)
  const { user, email, accessToken } = await signUp(app)
  const { accessToken: other } = await logIn(app, email)
  const claims = decodeJwt(accessToken)

  t.same(decodeJwt(accessToken, 0), { alg: 'EdDSA', typ: 'at+jwt', kid: kidOf(jwk) })
  t.same(Object.keys(claims).sort(), ['aud', 'exp', 'iat', 'iss', 'jti', 'sid', 'sub'])
  t.match(claims, { iss: settings.JWT_ISSUER, aud: 'microts', sub: user.id })
  t.equal(Number(claims.exp) - Number(claims.iat), 900)
  t.ok(Math.abs(Number(claims.iat) - seconds()) <= 2)
  for (const id of [claims.sid, claims.jti]) t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.not(claims.jti, decodeJwt(other).jti)
  t.not(claims.sid, decodeJwt(other).sid)
  t.equal(forge(claims), accessToken, 'Ed25519 gives one signature for one input')
})

test('issuer, audience and life are settings, and a token does not outlive its session', async (t) => {
  const app = await build(t, { JWT_ISSUER: 'https://id.example.com', JWT_AUDIENCE: 'shop', ACCESS_TOKEN_TTL: '60' })
  const { accessToken } = await signUp(app)
  const claims = decodeJwt(accessToken)
  t.match(claims, { iss: 'https://id.example.com', aud: 'shop', exp: Number(claims.iat) + 60 })
  t.equal((await me(app, accessToken)).statusCode, 200)
  t.equal((await me(await build(t), accessToken)).statusCode, 401, 'another issuer does not take it')

  const brief = await build(t, { REFRESH_IDLE_TTL: '20', REFRESH_ABSOLUTE_TTL: '30' })
  const opened = (await post(brief, '/auth/register', { email: 'brief@example.com', password: 'correct horse battery staple' })).json()
  const advance = async () => (await post(brief, '/auth/refresh', { refreshToken: opened.refreshToken })).json()
  for (const [what, { accessToken, expiresIn }] of Object.entries({ opened, refreshed: await advance(), replayed: await advance() })) {
    t.ok(expiresIn > 10 && expiresIn <= 20, `${what}: ${expiresIn} s`)
    const { exp, iat } = decodeJwt(accessToken)
    t.equal(Number(exp) - Number(iat), expiresIn)
  }
})

test('clocks may differ by 30 seconds; what has expired for longer says so', async (t) => {
  const app = await build(t)
  const claims = decodeJwt((await signUp(app)).accessToken)
  const now = seconds()
  const cases: [name: string, changes: object, status: number, code?: string][] = [
    ['expires in a second', { exp: now + 2 }, 200], ['expired within the skew', { iat: now - 900, exp: now - 25 }, 200], ['expired beyond it', { iat: now - 900, exp: now - 32 }, 401, 'TOKEN_EXPIRED'],
    ['expired for years', { iat: 1, exp: 2 }, 401, 'TOKEN_EXPIRED'], ['expired before it was issued', { iat: now, exp: now - 60 }, 401, 'TOKEN_EXPIRED'], ['expired at the beginning of time', { exp: -1e300 }, 401],
    ['issued within the skew', { iat: now + 25, exp: now + 900 }, 200], ['issued beyond it', { iat: now + 35, exp: now + 900 }, 401, 'UNAUTHORIZED'],
    ['not before, within the skew', { nbf: now + 25 }, 200], ['not before, beyond it', { nbf: now + 35 }, 401, 'UNAUTHORIZED'], ['not before, long ago', { nbf: 1 }, 200],
    ['the longest life', { iat: now, exp: now + 3600 }, 200], ['one second more', { iat: now, exp: now + 3601 }, 401, 'UNAUTHORIZED'], ['fractions', { iat: now + 0.5, exp: now + 60.5 }, 200]
  ]
  for (const [name, changes, status, code] of cases) {
    const response = await me(app, forge({ ...claims, ...changes }))
    t.equal(response.statusCode, status, name)
    if (code) t.equal(response.json().code, code, name)
    if (status === 401) t.match(response.headers['www-authenticate'], /^Bearer .*error="invalid_token"/)
  }
  t.equal((await me(app, forge({ ...claims, exp: now - 60, iat: now - 90 }, {}, undefined).slice(0, -2))).json().code, 'UNAUTHORIZED', 'a forgery is not called expired')
})

test('the scheme is Bearer in any case, with one token and nothing else', async (t) => {
  const app = await build(t)
  const { accessToken: token } = await signUp(app)
  const ask = async (authorization?: string) => (await app.inject({ url: '/me', headers: authorization === undefined ? {} : { authorization } })).statusCode
  for (const scheme of ['Bearer ', 'bearer ', 'BEARER ', 'bEaReR ', 'Bearer   ']) t.equal(await ask(scheme + token), 200, scheme)
  for (const authorization of [undefined, '', 'Bearer', 'Bearer ', `Bearer${token}`, token, `Basic ${token}`, `Token ${token}`, `DPoP ${token}`, `Bearer ${token} ${token}`, `Bearer ${token},Bearer ${token}`, `Bearer "${token}"`, `Bearer\t${token}`, `Bearer Bearer ${token}`]) {
    t.equal(await ask(authorization), 401, authorization?.slice(0, 20))
  }
  for (const url of [`/me?access_token=${token}`, `/me?token=${token}`]) t.equal((await app.inject(url)).statusCode, 401)
  t.equal((await app.inject({ url: '/me', headers: { cookie: `token=${token}` } })).statusCode, 401)

  await app.listen({ port: 0 })
  const { port } = app.server.address() as AddressInfo
  const [response] = await once(request({ port, path: '/me', headers: ['Host', 'localhost', 'Authorization', `Bearer ${token}`, 'Authorization', `Bearer ${token}`] as never }).end(), 'response')
  await text(response)
  t.equal(response.statusCode, 400, 'two headers')
})

test('a token of one kind is not taken for the other', async (t) => {
  const app = await build(t)
  const { accessToken, refreshToken } = await signUp(app)
  for (const token of [accessToken, `rt1.${accessToken}`, `rt1.${accessToken.split('.')[2]}`]) {
    t.match((await post(app, '/auth/refresh', { refreshToken: token })).json(), { status: 401, code: 'INVALID_REFRESH_TOKEN' })
  }
  t.match((await me(app, refreshToken)).json(), { status: 401, code: 'UNAUTHORIZED' })
  t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 200)
})

test('what was verified is remembered for the token it was, as a whole', async (t) => {
  const app = await build(t)
  const users = [await signUp(app), await signUp(app), await signUp(app)]
  const tokens = users.map(({ accessToken }) => accessToken)
  for (const token of tokens) t.equal(recall(app, token), undefined)
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(tokens.map((token) => me(app, token)))
    t.same(answers.map((answer) => answer.json().user.id), users.map(({ user }) => user.id))
    for (const [i, token] of tokens.entries()) t.same(recall(app, token), { id: users[i]!.user.id, sessionId: decodeJwt(token).sid })
  }
  const [header, payload] = tokens[0]!.split('.')
  const signature = tokens[1]!.split('.')[2]
  t.equal((await me(app, `${header}.${payload}.${signature}`)).statusCode, 401)
  t.equal((await me(app, 'a.b.c')).statusCode, 401)
  for (const token of [`${header}.${payload}.${signature}`, 'a.b.c', '', `${tokens[0]}x`]) t.equal(recall(app, token), undefined, 'a failure is not remembered')
  t.equal(app.tokens.recall({ headers: {} } as FastifyRequest), undefined)
})

test('a token that was remembered ends when it expires', async (t) => {
  const app = await build(t)
  const { accessToken } = await signUp(app)
  t.equal((await me(app, accessToken)).statusCode, 200)
  const expiry = Number(decodeJwt(accessToken).exp) * 1000

  mock.timers.enable({ apis: ['Date'], now: expiry - 1 })
  t.teardown(() => mock.timers.reset())
  t.ok(recall(app, accessToken))
  mock.timers.setTime(expiry)
  t.equal(recall(app, accessToken), undefined)
  mock.timers.setTime(expiry + 30_000)
  t.equal((await me(app, accessToken)).statusCode, 200, 'the skew, verified anew')
  mock.timers.setTime(expiry + 30_001)
  t.match((await me(app, accessToken)).json(), { status: 401, code: 'TOKEN_EXPIRED' })
})

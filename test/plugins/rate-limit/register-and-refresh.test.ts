import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { test } from 'tap'
import { countHashes } from '../../count-hashes.ts'
import { eventually } from '../../eventually.ts'
import { build, PASSWORD, signUp, sql } from '../../helper.ts'
import { wire } from '../../wire.ts'
import type { FastifyInstance } from 'fastify'

// What is undefined has its default, which the helper raises.
const REGISTER = { RATE_LIMIT_REGISTER_MAX: undefined }
const REFRESH = { RATE_LIMIT_REFRESH_MAX: undefined, RATE_LIMIT_MAX: undefined }
const A = '203.0.113.1'
const B = '203.0.113.2'

const register = (app: FastifyInstance, { email = `${randomUUID()}@example.com`, password = PASSWORD, remoteAddress = A } = {}) =>
  app.inject({ method: 'POST', url: '/auth/register', remoteAddress, payload: { email, password } })
const refresh = (app: FastifyInstance, refreshToken: string, remoteAddress = A) =>
  app.inject({ method: 'POST', url: '/auth/refresh', remoteAddress, payload: { refreshToken } })
const exhaust = (app: FastifyInstance, remoteAddress: string) => Promise.all(Array.from({ length: 60 }, () => app.inject({ url: '/api', remoteAddress })))
const statusesOf = (answers: { statusCode: number }[]) => answers.map(({ statusCode }) => statusCode)

test('an address may register 5 accounts in 15 minutes', async (t) => {
  const app = await build(t, REGISTER)
  const answers = await Promise.all(Array.from({ length: 100 }, () => register(app)))
  t.equal(answers.filter(({ statusCode }) => statusCode === 201).length, 5)
  t.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 95)
  t.same(await sql('select count(*)::int as users from users'), [{ users: 5 }])

  const hashes = await countHashes(async () => {
    const { statusCode, headers } = await register(app)
    t.equal(statusCode, 429)
    t.match(headers, { 'ratelimit-policy': '"register";q=5;w=900', ratelimit: /^"register";r=0;t=\d+$/, 'retry-after': /^[1-9]\d{0,2}$/ })
  })
  t.equal(hashes, 0)
  t.equal((await register(app, { remoteAddress: B })).statusCode, 201)
})

test('an address that has an account costs a registration, since it tells who has one; what is not valid does not', async (t) => {
  const app = await build(t, REGISTER)
  const { email } = await signUp(app)
  for (let i = 0; i < 10; i++) t.equal((await register(app, { password: 'short' })).statusCode, 400)
  t.same(statusesOf(await Promise.all(Array.from({ length: 5 }, () => register(app, { email })))), Array(5).fill(409))
  t.equal((await register(app)).statusCode, 429)
})

test('a registration that fails by our fault is given back', async (t) => {
  const app = await build(t, REGISTER)
  await sql('alter table users rename to users_away')
  for (let i = 0; i < 6; i++) t.equal((await register(app)).statusCode, 503)
  await sql('alter table users_away rename to users')
  t.same(statusesOf([await register(app), await register(app), await register(app), await register(app), await register(app), await register(app)]), [201, 201, 201, 201, 201, 429])
})

test('who leaves while a registration waits has asked for it', async (t) => {
  const app = await build(t, { RATE_LIMIT_REGISTER_MAX: '1', HASH_CONCURRENCY: '1' })
  const { port } = await wire(app)
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  const holder = app.passwords.gate.pass(() => held)
  const left = request({ port, path: '/auth/register', method: 'POST', headers: { 'content-type': 'application/json' } }).on('error', () => {})
  left.end(JSON.stringify({ email: 'ada@example.com', password: PASSWORD }))
  await eventually(() => app.passwords.gate.queueLength === 1)
  left.destroy()
  await eventually(() => app.passwords.gate.queueLength === 0)
  release()
  await holder
  t.equal((await register(app, { remoteAddress: '127.0.0.1' })).statusCode, 429)
})

test('a session may refresh 30 times in 5 minutes, from wherever, and costs no address anything; what is refused does', async (t) => {
  const app = await build(t, REFRESH)
  const { refreshToken } = await signUp(app)
  const { refreshToken: other } = await signUp(app)
  const answers = []
  for (let i = 0, token = refreshToken; i < 30; i++) {
    const answer = await refresh(app, token, `203.0.113.${i}`)
    answers.push(answer)
    token = answer.json().refreshToken
  }
  t.same(statusesOf(answers), Array(30).fill(200))
  t.match(answers[0]!.headers, { 'ratelimit-policy': '"session";q=30;w=300', ratelimit: '"session";r=29;t=300' })

  for (let i = 0; i < 3; i++) {
    const { statusCode, headers } = await refresh(app, answers[29]!.json().refreshToken)
    t.equal(statusCode, 429)
    t.match(headers, { 'ratelimit-policy': '"session";q=30;w=300', ratelimit: /^"session";r=0;t=\d+$/, 'retry-after': /^[1-9]\d{0,2}$/ })
  }
  t.equal((await refresh(app, other)).statusCode, 200, 'another session')
  t.match((await app.inject({ url: '/api', remoteAddress: A })).headers, { ratelimit: '"address";r=56;t=60' })
})

test('who keeps the limit of a session used up is found out all the same', async (t) => {
  const app = await build(t, { ...REFRESH, RATE_LIMIT_REFRESH_MAX: '3', REFRESH_GRACE_SECONDS: '0' })
  const { refreshToken: stolen, headers } = await signUp(app)
  const answers = []
  for (let i = 0, token = stolen; i < 3; i++) {
    answers.push(await refresh(app, token, B))
    token = answers[i]!.json().refreshToken
  }
  t.same(statusesOf(answers), [200, 200, 200])
  const current = answers[2]!.json().refreshToken
  t.equal((await refresh(app, current, B)).statusCode, 429, 'the current one is not found fault with')
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)

  t.match((await refresh(app, stolen)).json(), { status: 401, code: 'INVALID_REFRESH_TOKEN' }, 'the owner has what is no longer current')
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 401)
  t.same(await sql('select revoked_reason from sessions where revoked_at is not null'), [{ revoked_reason: 'reuse detected' }])
  t.equal((await refresh(app, current, B)).statusCode, 429)
})

test('what is refused beyond both limits costs no statement', async (t) => {
  const app = await build(t, { RATE_LIMIT_REFRESH_MAX: '1', RATE_LIMIT_MAX: '2' })
  const { refreshToken } = await signUp(app)
  t.same(statusesOf([await refresh(app, refreshToken), await refresh(app, refreshToken), await refresh(app, refreshToken)]), [200, 429, 429])
  await sql('alter table sessions rename to sessions_away')
  t.match((await refresh(app, refreshToken)).headers, { 'ratelimit-policy': '"address";q=2;w=60' })
  t.equal((await refresh(app, refreshToken, B)).statusCode, 503, 'of another address it would')
  await sql('alter table sessions_away rename to sessions')
})

test('a retry within the grace is no theft where the limit of its session is used up', async (t) => {
  const app = await build(t, { ...REFRESH, RATE_LIMIT_REFRESH_MAX: '1' })
  const { refreshToken, headers } = await signUp(app)
  t.same(statusesOf([await refresh(app, refreshToken), await refresh(app, refreshToken)]), [200, 429])
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
})

test('a valid refresh token works from an exhausted address', async (t) => {
  const app = await build(t, REFRESH)
  const { refreshToken } = await signUp(app)
  await exhaust(app, A)
  t.equal((await refresh(app, refreshToken)).statusCode, 200)
  t.equal((await refresh(app, 'rt1.forged')).statusCode, 429)
})

test('every refresh that is none counts for the address, and never for a session', async (t) => {
  const app = await build(t, { RATE_LIMIT_MAX: '20', RATE_LIMIT_REFRESH_MAX: '1' })
  const { refreshToken, accessToken } = await signUp(app)
  const badMac = refreshToken.slice(0, 90) + (refreshToken[90] === 'A' ? 'B' : 'A') + refreshToken.slice(91)
  const json = (payload: string | object, headers = {}) => ({ payload, headers: { 'content-type': 'application/json', ...headers } })
  const cases: [name: string, status: number, options: object][] = [
    ['a bad MAC', 401, json({ refreshToken: badMac })],
    ['malformed', 401, json({ refreshToken: 'rt1.x' })],
    ['an access token', 401, json({ refreshToken: accessToken })],
    ['a field more', 400, json({ refreshToken, sessionId: 'x' })],
    ['no field', 400, json({})],
    ['another type', 400, json({ refreshToken: [refreshToken] })],
    ['no JSON', 400, json(`{"refreshToken":"${refreshToken}"`)],
    ['no body', 400, json('')],
    ['another media type', 415, json({ refreshToken }, { 'content-type': 'text/plain' })],
    ['compressed', 415, json({ refreshToken }, { 'content-encoding': 'gzip' })],
    ['another charset', 415, json({ refreshToken }, { 'content-type': 'application/json; charset=utf-16' })],
    ['too large', 413, json(JSON.stringify({ refreshToken }).padEnd(10_241))],
    ['a field twice', 400, json(`refreshToken=${refreshToken}&refreshToken=${refreshToken}`, { 'content-type': 'application/x-www-form-urlencoded' })]
  ]
  const send = (options: object) => app.inject({ method: 'POST', url: '/auth/refresh', remoteAddress: A, ...options })

  for (const [i, [name, status, options]] of cases.entries()) {
    const { statusCode, headers } = await send(options)
    t.equal(statusCode, status, name)
    t.match(headers, { 'ratelimit-policy': '"address";q=20;w=60', ratelimit: `"address";r=${19 - i};` }, name)
  }
  for (let i = cases.length; i < 20; i++) await send(cases[0]![2])
  for (const [name, , options] of cases) t.equal((await send(options)).statusCode, 429, name)
  t.equal((await refresh(app, refreshToken)).statusCode, 200)
})

test('a refresh token of ours counts for its session, whatever became of that', async (t) => {
  const app = await build(t, { ...REFRESH, RATE_LIMIT_REFRESH_MAX: '2' })
  const { refreshToken, headers } = await signUp(app)
  await app.inject({ method: 'POST', url: '/auth/logout', headers })
  t.same(statusesOf([await refresh(app, refreshToken), await refresh(app, refreshToken), await refresh(app, refreshToken, B)]), [401, 401, 429])
  t.match((await app.inject({ url: '/api', remoteAddress: A })).headers, { ratelimit: '"address";r=59;t=60' })
})

test('a refresh that fails by our fault costs neither its session nor the address anything', async (t) => {
  const app = await build(t, { ...REFRESH, RATE_LIMIT_REFRESH_MAX: '2' })
  const { refreshToken } = await signUp(app)
  const successor = (await refresh(app, refreshToken)).json().refreshToken
  await sql('alter table sessions rename to sessions_away')
  for (let i = 0; i < 3; i++) t.equal((await refresh(app, successor)).statusCode, 503)
  await sql('alter table sessions_away rename to sessions')
  const last = await refresh(app, successor)
  t.equal(last.statusCode, 200)
  await sql('alter table sessions rename to sessions_away')
  t.equal((await refresh(app, last.json().refreshToken)).statusCode, 503, 'nor does one that is beyond the limit, and is judged all the same')
  await sql('alter table sessions_away rename to sessions')
  t.match((await app.inject({ url: '/api', remoteAddress: A })).headers, { ratelimit: '"address";r=59;t=60' })
})

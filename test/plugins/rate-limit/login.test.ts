import { request } from 'node:http'
import { test } from 'tap'
import { countHashes } from '../../count-hashes.ts'
import { eventually } from '../../eventually.ts'
import { build, PASSWORD, signUp, sql } from '../../helper.ts'
import { connected, startRedis } from '../../redis.ts'
import { wire } from '../../wire.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

// What is undefined has its default, which the helper raises.
const LOGIN = { RATE_LIMIT_LOGIN_MAX: undefined }
const A = '203.0.113.1'
const B = '203.0.113.2'

const attempt = (app: FastifyInstance, email: string, { password = 'wrong', remoteAddress = A } = {}) =>
  app.inject({ method: 'POST', url: '/auth/login', remoteAddress, payload: { email, password } })

async function repeat (times: number, work: (i: number) => Promise<{ statusCode: number }>) {
  const statuses = []
  for (let i = 0; i < times; i++) statuses.push((await work(i)).statusCode)
  return statuses
}

const failed = (count: number) => Array<number>(count).fill(401)
const refused = (count: number) => Array<number>(count).fill(429)

test('an address may fail 5 times in 15 minutes at one account, whether there is such an account or not', async (t) => {
  const app = await build(t, LOGIN)
  const { email } = await signUp(app)

  for (const account of [email, 'nobody@example.com']) {
    t.same(await repeat(5, () => attempt(app, account)), failed(5))
    const { statusCode, headers } = await attempt(app, account)
    t.equal(statusCode, 429)
    t.match(headers, { 'ratelimit-policy': '"login";q=5;w=900', ratelimit: /^"login";r=0;t=\d+$/, 'retry-after': /^[1-9]\d{0,2}$/ })
    t.equal((await attempt(app, account, { remoteAddress: B })).statusCode, 401, 'another address')
  }
  t.equal((await attempt(app, email, { password: PASSWORD })).statusCode, 429, 'the right password comes too late')
})

test('of 100 wrong passwords at once exactly 5 are tried', async (t) => {
  const app = await build(t, LOGIN)
  const { email } = await signUp(app)
  let answers: { statusCode: number }[] = []
  const hashes = await countHashes(async () => { answers = await Promise.all(Array.from({ length: 100 }, () => attempt(app, email))) })
  t.equal(answers.filter(({ statusCode }) => statusCode === 401).length, 5)
  t.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 95)
  t.equal(hashes, 5)
})

test('an address may fail 30 times in 15 minutes at all accounts, and is refused before its body is read', async (t) => {
  const app = await build(t, { RATE_LIMIT_LOGIN_ADDRESS_MAX: undefined })
  t.same(await repeat(30, (i) => attempt(app, `user${i}@example.com`)), failed(30))
  t.match(await attempt(app, 'user30@example.com'), { statusCode: 429, headers: { 'ratelimit-policy': '"login-address";q=30;w=900' } })
  t.equal((await app.inject({ method: 'POST', url: '/auth/login', remoteAddress: A, payload: {} })).statusCode, 429)
  t.equal((await attempt(app, 'user30@example.com', { remoteAddress: B })).statusCode, 401)
})

test('an account takes 100 failures in a row in a day, wherever they come from; its sessions go on', async (t) => {
  const app = await build(t, { RATE_LIMIT_ACCOUNT_MAX: undefined })
  const { email, headers, refreshToken } = await signUp(app)
  const remoteAddress = (i: number) => `198.51.100.${i}`

  t.same(await repeat(99, (i) => attempt(app, email, { remoteAddress: remoteAddress(i) })), failed(99))
  t.equal((await attempt(app, email, { password: PASSWORD })).statusCode, 200, 'a success ends the row')
  t.same(await repeat(100, (i) => attempt(app, email, { remoteAddress: remoteAddress(i) })), failed(100))

  const { statusCode, headers: told } = await attempt(app, email, { password: PASSWORD, remoteAddress: B })
  t.equal(statusCode, 429)
  t.match(told, { 'ratelimit-policy': '"account";q=100;w=86400' })
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
  t.equal((await app.inject({ method: 'POST', url: '/auth/refresh', payload: { refreshToken } })).statusCode, 200)
})

test('a success gives its slots back', async (t) => {
  const app = await build(t, { ...LOGIN, RATE_LIMIT_LOGIN_ADDRESS_MAX: '8' })
  const { email } = await signUp(app)
  t.same(await repeat(4, () => attempt(app, email)), failed(4))
  t.same(await repeat(10, () => attempt(app, email, { password: PASSWORD })), Array(10).fill(200))
  t.equal((await attempt(app, email)).statusCode, 401)
  t.equal((await attempt(app, email)).statusCode, 429, 'the failures before still count for the address')
  t.same(await repeat(4, (i) => attempt(app, `${i}@example.com`)), [401, 401, 401, 429])
})

for (const [where, start] of Object.entries({ memory: async () => ({}), Redis: async (t: Test) => ({ REDIS_URL: (await startRedis(t)).url, REDIS_COMMAND_TIMEOUT: '5000' }) })) {
  test(`who meets slots in ${where} that may come back in a moment is told to wait for a moment`, async (t) => {
    const app = await build(t, { ...LOGIN, ...await start(t) })
    if (app.fastPath) await connected(app)
    const { email } = await signUp(app)
    const answers = await Promise.all(Array.from({ length: 6 }, () => attempt(app, email, { password: PASSWORD })))
    t.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 5)
    t.match(answers.filter(({ statusCode }) => statusCode === 429).map(({ headers }) => headers), [{ ratelimit: '"login";r=0;t=1', 'retry-after': '1' }])
    t.same(await repeat(6, () => attempt(app, email)), [...failed(5), 429])
    t.match((await attempt(app, email)).headers, { 'retry-after': /^8\d\d|900$/ }, 'those that failed stay')
  })
}

test('a failure of ours gives the slots back, and does not end the row of failures', async (t) => {
  const app = await build(t, { RATE_LIMIT_LOGIN_MAX: '3', RATE_LIMIT_LOGIN_ADDRESS_MAX: '3', RATE_LIMIT_ACCOUNT_MAX: '3' })
  const { email } = await signUp(app)
  t.same(await repeat(2, () => attempt(app, email)), failed(2))

  await sql('alter table users rename to users_away')
  t.same(await repeat(5, () => attempt(app, email)), Array(5).fill(503))
  t.match((await attempt(app, email)).headers, { 'retry-after': /^[1-9]\d*$/, ratelimit: /^"address"/ })
  await sql('alter table users_away rename to users')

  await sql('alter table sessions add constraint broken check (user_agent is null) not valid')
  t.same(await repeat(5, () => attempt(app, email, { password: PASSWORD })), Array(5).fill(500))
  await sql('alter table sessions drop constraint broken')

  t.same(await repeat(2, () => attempt(app, email)), [401, 429])
  t.equal((await attempt(app, email, { remoteAddress: B })).statusCode, 429, 'the account has none left either')
})

test('a refusal by one limit takes nothing of the others', async (t) => {
  const app = await build(t, { RATE_LIMIT_LOGIN_MAX: '9', RATE_LIMIT_LOGIN_ADDRESS_MAX: '2', RATE_LIMIT_ACCOUNT_MAX: '1' })
  t.equal((await attempt(app, 'ada@example.com', { remoteAddress: B })).statusCode, 401)
  t.same(await repeat(5, () => attempt(app, 'ada@example.com')), refused(5))
  t.same(await repeat(3, (i) => attempt(app, `${i}@example.com`)), [401, 401, 429], 'the address had both of its slots')

  const other = await build(t, { RATE_LIMIT_LOGIN_MAX: '1', RATE_LIMIT_LOGIN_ADDRESS_MAX: '9', RATE_LIMIT_ACCOUNT_MAX: '2' })
  t.same(await repeat(5, () => attempt(other, 'ada@example.com')), [401, ...refused(4)])
  t.equal((await attempt(other, 'ada@example.com', { remoteAddress: B })).statusCode, 401, 'the account had a slot left')
})

test('all spellings of an address are one account', async (t) => {
  const app = await build(t, LOGIN)
  const spellings = ['ada@example.com', 'ADA@example.com', '  ada@EXAMPLE.com ', '\uff21\uff44\uff41@example.com', 'Ada@Example.Com']
  t.same(await repeat(5, (i) => attempt(app, spellings[i]!)), failed(5))
  t.same(await repeat(5, (i) => attempt(app, spellings[i]!)), refused(5))
})

test('a refused login is refused before any hash is computed', async (t) => {
  const app = await build(t, LOGIN)
  const { email } = await signUp(app)
  t.equal(await countHashes(() => repeat(5, () => attempt(app, email))), 5)
  t.equal(await countHashes(async () => t.same(await repeat(20, () => attempt(app, email)), refused(20))), 0)
})

test('a wrong password at deletion or change of password is a failed login, and so is one that is too many', async (t) => {
  const app = await build(t, LOGIN)
  const { email, headers } = await signUp(app)
  const remove = (password = 'wrong') => app.inject({ method: 'DELETE', url: '/me', remoteAddress: A, headers, payload: { password } })
  const change = (currentPassword = 'wrong', newPassword = 'another fine password') => app.inject({ method: 'PUT', url: '/me/password', remoteAddress: A, headers, payload: { currentPassword, newPassword } })

  t.same([await change('wrong', 'short'), await change('same as before', 'same as before')].map(({ statusCode }) => statusCode), [400, 400], 'not tried, not counted')
  t.same([await remove(), await change(), await attempt(app, email), await change(PASSWORD), await remove(), await change()].map(({ statusCode }) => statusCode), [401, 401, 401, 204, 401, 429], 'a change takes two hashes, and counts')
  for (const answer of [await attempt(app, email), await remove(), await change(), await remove('another fine password')]) {
    t.match(answer, { statusCode: 429, headers: { 'ratelimit-policy': '"login";q=5;w=900' } })
  }
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
})

test('a client that leaves before its password was tried has tried none', async (t) => {
  const app = await build(t, { RATE_LIMIT_LOGIN_MAX: '1', HASH_CONCURRENCY: '1' })
  const { email } = await signUp(app)
  const { port } = await wire(app)
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  const holder = app.passwords.gate.pass(() => held)
  const hashes = await countHashes(async () => {
    for (let i = 0; i < 3; i++) {
      const left = request({ port, path: '/auth/login', method: 'POST', headers: { 'content-type': 'application/json' } }).on('error', () => {})
      left.end(JSON.stringify({ email, password: 'wrong' }))
      await eventually(() => app.passwords.gate.queueLength === 1)
      left.destroy()
      await eventually(() => app.passwords.gate.queueLength === 0)
    }
  })
  release()
  await holder

  t.equal(hashes, 0)
  const remoteAddress = '127.0.0.1'
  t.equal((await attempt(app, email, { remoteAddress })).statusCode, 401)
  t.equal((await attempt(app, email, { remoteAddress })).statusCode, 429)
})

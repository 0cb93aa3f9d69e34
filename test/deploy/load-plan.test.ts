import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import { buildOf, limitedBy, refusalOf, secondsToWait } from '../../deploy/load/answers.ts'
import { ACTIONS, actionNames, MOST_SECONDS, OBJECTIVES, PROFILES, profileNames, SETTINGS } from '../../deploy/load/mix.ts'
import { actionAt, judge, planOf, sentenceOf } from '../../deploy/load/plan.ts'
import { createTally } from '../../deploy/load/tally.ts'
import { accountFrom, createVirtualUser, tokensFrom } from '../../deploy/load/virtual-user.ts'
import { EnvSchema } from '../../plugins/config/index.ts'

type Rule = { record?: string, expr: string, labels?: { objective?: string } }

const read = (file: string) => readFileSync(join(import.meta.dirname, '../../deploy', file), 'utf8')
const rules: Rule[] = parse(read('prometheus/rules/objectives.yml')).groups[0].rules
const exprOf = (record: string, objective: string) => rules.find((rule) => rule.record === record && rule.labels?.objective === objective)!.expr

test('the objectives are those of the alerts', async (t) => {
  for (const objective of ['availability', 'latency', 'hashing-latency'] as const) {
    const { budget, withinMs } = OBJECTIVES[objective]
    t.equal(exprOf('microts:objective:budget', objective), `vector(${budget})`, objective)
    if (withinMs) t.match(exprOf('job:microts_missed:rate5m', objective), `le="${withinMs / 1000}"`, objective)
  }
  const hashing = [...exprOf('job:microts_judged:rate5m', 'hashing-latency').matchAll(/route=~?"([^"]+)"(?:,method="(\w+)")?/g)]
  const [, unjudged = ''] = /route!~"([^"]+)"/.exec(exprOf('job:microts_judged:rate5m', 'availability'))!
  for (const action of actionNames) {
    const { method, path, objective } = ACTIONS[action]
    const isHashing = hashing.some(([, routes, only = method]) => RegExp(`^(${routes})$`).test(path) && only === method)
    const isJudged = !unjudged.split('|').includes(path)
    t.equal(objective, isHashing ? 'hashing-latency' : isJudged ? 'latency' : undefined, action)
  }
})

test('every profile ends by itself, and makes a number of users that can be made', async (t) => {
  for (const profile of profileNames) {
    const plan = planOf({ profile, isSure: false })
    t.ok(plan.seconds > 0 && plan.seconds <= MOST_SECONDS, profile)
    t.ok(plan.users > 0 && plan.users <= 1200, profile)
    t.equal(plan.requests, PROFILES[profile].reduce((sum, { seconds, users }) => sum + seconds * users, 0))
    t.equal(plan.hasFlood, ['stress', 'spike'].includes(profile))
    const short = planOf({ profile, isSure: false, seconds: '10' })
    t.ok(short.seconds <= 10 && short.seconds >= 5, profile)
    t.equal(short.users, plan.users)
  }
})

test('the mix is of a hundred', async (t) => {
  const counts: Record<string, number> = {}
  for (let at = 0; at < 1000; at++) counts[actionAt(at / 1000)] = (counts[actionAt(at / 1000)] ?? 0) + 1
  t.same(counts, { me: 840, refresh: 80, health: 40, login: 30, register: 10 })
})

test('what is asked for has to make sense, and be on this machine or meant', async (t) => {
  t.match(planOf({ isSure: false }), { origin: 'http://127.0.0.1:3000', profile: 'smoke' })
  for (const url of ['http://localhost:3000', 'http://127.1.2.3/', 'http://[::1]:3000']) t.equal(planOf({ url, isSure: false }).origin, url.replace(/\/$/, ''))
  for (const url of ['https://id.example.com', 'http://127.0.0.1.example.com', 'http://localhost.example.com:3000', 'http://10.0.0.1']) {
    t.throws(() => planOf({ url, isSure: false }), { message: /is not on this machine\..* never do that to production/ }, url)
    t.equal(planOf({ url, isSure: true }).origin, url)
  }
  for (const url of ['', '127.0.0.1:3000', 'ftp://127.0.0.1', 'http://127.0.0.1:3000/id', 'http://localhost@example.com']) t.throws(() => planOf({ url, isSure: true }), { message: /is no address of a service/ }, url)
  for (const seconds of ['0', '-1', '1.5', 'x', '99999']) t.throws(() => planOf({ seconds, isSure: false }), { message: 'This profile takes 1 to 14400 whole seconds' }, seconds)
  t.throws(() => planOf({ profile: 'spike', seconds: '2', isSure: false }), { message: 'This profile takes 3 to 14400 whole seconds' })
  t.throws(() => planOf({ profile: 'constructor', isSure: false }), { message: /is no profile/ })
})

test('an answer is judged by what was asked', async (t) => {
  const calm = { hasFlood: false }
  const flood = { hasFlood: true }
  const refusal = { status: 503, ms: 5, retryAfter: '2' }
  t.same(judge('me', { status: 200, ms: 250 }, calm), { kind: 'good', missed: { availability: false, latency: false } })
  t.same(judge('me', { status: 200, ms: 251 }, calm), { kind: 'good', missed: { availability: false, latency: true } })
  t.same(judge('register', { status: 201, ms: 2501 }, calm), { kind: 'good', missed: { availability: false, 'hashing-latency': true } })
  t.same(judge('health', { status: 200, ms: 251 }, calm), { kind: 'good', missed: {} })
  t.same(judge('health', refusal, flood), { kind: 'failed', missed: {} })
  t.same(judge('login', refusal, flood), { kind: 'refused', missed: { refusals: false } })
  t.same(judge('leave', { ...refusal, ms: 101 }, flood), { kind: 'refused', missed: { refusals: true } })
  for (const [action, answer, plan] of [
    ['login', refusal, calm], ['login', { ...refusal, retryAfter: undefined }, flood], ['me', refusal, flood], ['me', { status: 401, ms: 5 }, calm],
    ['register', { status: 200, ms: 5 }, calm], ['me', { status: 0, ms: 0 }, calm]
  ] as const) t.same(judge(action, answer, plan), { kind: 'failed', missed: { availability: true } })
  t.same(judge('login', { status: 429, ms: 5, retryAfter: '2' }, flood), { kind: 'limited', missed: {} })
})

test('the schedule is that of the users, and the times are those of good answers', async (t) => {
  const plan = planOf({ profile: 'spike', seconds: '5', isSure: false })
  const tally = createTally(plan)
  for (let sent = 0; sent < plan.requests; sent++) tally.sent('login', { isPlanned: false })
  t.same(tally.missed(), ['schedule'], 'the flood makes up for nothing')
  t.match(tally.verdicts(['schedule']), /^MISSED {2}95 % of what was planned is sent: 0 %$/m)
  for (let sent = 0; sent < plan.requests; sent++) tally.sent('me', { isPlanned: true })
  t.same(tally.missed(), [])

  tally.take('login', { status: 200, ms: 1700 })
  for (let times = 0; times < 10; times++) tally.take('login', { status: 503, ms: 5, retryAfter: '2' })
  t.match(tally.table(5), /^POST \/auth\/login .* 170[01] ms +170[01] ms +170[01] ms +10 +0 +0$/m)
})

test('it says what it is about to do', async (t) => {
  t.equal(sentenceOf(planOf({ isSure: false }), 'native'), 'smoke: 10 users are made at http://127.0.0.1:3000 (argon2: native), and send 300 requests in 30 s')
  t.match(sentenceOf(planOf({ profile: 'spike', isSure: false }), 'native'), / and send 16500 requests and a flood of logins in 150 s$/)
})

test('only microts is loaded, once it is ready', async (t) => {
  const [url, up] = ['http://localhost', { status: 200, body: '{"hashing":{"build":"native"}}' }]
  t.equal(buildOf(url, up, up), 'native')
  t.throws(() => buildOf(url, { status: 308, body: '<html>' }, up), { message: 'http://localhost is not ready: 308 <html>' })
  t.throws(() => buildOf(url, { status: 0, body: 'connection refused' }, up), { message: 'http://localhost is not ready: connection refused' })
  t.throws(() => buildOf(url, up, { status: 404, body: '' }), { message: 'GET /status answers 404' })
  for (const body of ['<html>', '{}', 'null']) t.throws(() => buildOf(url, up, { status: 200, body }), { message: 'http://localhost is not microts' }, body)
  t.equal(refusalOf('GET /status', { status: 0, body: 'timeout' }), 'GET /status answers timeout')
})

test('it comes again where the service says when, and that is soon', async (t) => {
  for (const [action, status, retryAfter, seconds] of [
    ['login', 503, '2', 2], ['login', 429, '60', 60], ['register', 503, '0', 0], ['register', 429, '2', undefined],
    ['login', 503, '61', undefined], ['login', 503, undefined, undefined], ['login', 503, 'Fri, 01 Jan 2038 00:00:00 GMT', undefined], ['login', 401, '2', undefined]
  ] as const) t.equal(secondsToWait(action, { status, body: '', retryAfter }), seconds, `${action} ${status} ${retryAfter}`)
})

test('each limit has its setting', async (t) => {
  t.strictSame(Object.values(SETTINGS).sort(), Object.keys(EnvSchema.properties).filter((name) => /^RATE_LIMIT_.*MAX$/.test(name)).sort())
  for (const [limit, setting] of Object.entries(SETTINGS)) t.match(limitedBy(`"${limit}";q=5;w=900`), RegExp(`^The limit of 5 in 900 s \\(${limit}\\) .*: raise ${setting} of`))
  for (const policy of [undefined, '"other";q=5;w=1']) t.match(limitedBy(policy), /^Something before the service answers 429/)
})

test('a virtual user does what a good client does', async (t) => {
  const account = accountFrom('a'.repeat(16) + 'b'.repeat(24))
  t.same(account, { email: 'load-aaaaaaaaaaaaaaaa@example.com', password: 'b'.repeat(24) })
  const pair = (name: string, expiresIn = 900) => JSON.stringify({ accessToken: `access-${name}`, refreshToken: `refresh-${name}`, expiresIn })
  const user = createVirtualUser(account, () => accountFrom('c'.repeat(40)))

  t.match(user.next('me'), { action: 'login', body: JSON.stringify(account) }, 'without a session it opens one')
  user.take(200, pair('1', 5))
  t.match(user.next('me'), { action: 'refresh', body: '{"refreshToken":"refresh-1"}' }, 'a token about to expire is exchanged')
  user.take(200, pair('2'))
  t.match(user.next('me'), { action: 'me', headers: { authorization: 'Bearer access-2' } })
  user.take(503, '')
  t.match(user.next('refresh'), { body: '{"refreshToken":"refresh-2"}' })
  t.match(user.next('me'), { action: 'refresh', body: '{"refreshToken":"refresh-2"}' }, 'it asks again, when no answer came')
  user.take(401, '')
  t.match(user.next('refresh'), { action: 'login' }, 'the session is over')
  user.take(503, '')
  t.match(user.next('health'), { action: 'health', path: '/health', headers: {} })
  user.take(200, '')

  t.match(user.next('register'), { action: 'register', body: /load-cccccccccccccccc@example\.com/ })
  t.equal(user.accounts.length, 2, 'nobody knows yet whether it was made')
  user.take(503, '')
  t.same(user.accounts, [account])
  user.next('register')
  user.take(201, pair('guest'))
  t.match(user.next('me'), { action: 'leave', headers: { authorization: 'Bearer access-guest' }, body: `{"password":"${'c'.repeat(24)}"}` })
  user.take(503, '')
  t.match(user.next('me'), { action: 'leave' }, 'until it is gone')
  user.take(204, '')
  t.same(user.accounts, [account])

  user.adopt(tokensFrom(pair('3')))
  user.next('register')
  user.take(201, pair('guest'))
  t.match(user.next('me'), { action: 'leave' })
  t.match(user.next('me'), { action: 'leave' }, 'it asks again, when no answer came')
  user.take(401, '')
  t.match(user.next('me'), { action: 'me', headers: { authorization: 'Bearer access-3' } }, 'then it was gone, and its own session is as it was')
  user.take(200, '')
  t.equal(user.accounts.length, 2, 'for whoever deletes them to be sure')
  t.equal(user.forgetGuests().length, 1)

  user.next('register')
  t.notOk(user.hasGuest, 'without an answer nobody knows')
  user.next('register')
  user.take(201, pair('guest'))
  t.ok(user.hasGuest)
  t.equal(user.forgetGuests().length, 2)
  t.same(user.accounts, [account])
  t.match(user.next('me'), { action: 'me' }, 'they are of no concern to it any more')
  t.ok(tokensFrom(pair('3')).expiresAt > Date.now())
})

import { AsyncLocalStorage } from 'node:async_hooks'
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { Readable } from 'node:stream'
import { setImmediate as settled } from 'node:timers/promises'
import { test } from 'tap'
import { createHashGate } from '../../../plugins/auth/hash-gate.ts'
import { createSlots } from '../../../plugins/slots.ts'
import { buildWith } from '../../build-with.ts'
import { countHashes } from '../../count-hashes.ts'
import { eventually } from '../../eventually.ts'
import { build, PASSWORD, post, signUp } from '../../helper.ts'
import { wire } from '../../wire.ts'

/** A gate and hashes that end when they are told to. */
function start ({ concurrency, queueTimeoutMs }: { concurrency: number, queueTimeoutMs: number }) {
  const gate = createHashGate({ slots: createSlots(concurrency, () => undefined), queueTimeoutMs })
  const begun: string[] = []
  const hashes = new Map<string, PromiseWithResolvers<string>>()
  let running = 0
  let most = 0

  return {
    gate,
    begun,
    end: (name: string) => hashes.get(name)!.resolve(name),
    fail: (name: string, error: Error) => hashes.get(name)!.reject(error),
    most: () => most,
    pass: (name: string) => gate.pass(() => {
      begun.push(name)
      most = Math.max(most, ++running)
      const hash = Promise.withResolvers<string>()
      hashes.set(name, hash)
      return hash.promise.finally(() => running--)
    })
  }
}

const PATIENT = { queueTimeoutMs: 60_000 }
const refusalOf = (pass: Promise<unknown>) => pass.then(() => undefined, (error: unknown) => error)
const names = (count: number) => Array.from({ length: count }, (_, i) => `hash ${i}`)

test('never more hashes at a time than the concurrency, and each gets its turn in the order of arrival', async (t) => {
  for (const concurrency of [1, 2, 3, 8]) {
    const { gate, begun, pass, end, most } = start({ concurrency, ...PATIENT })
    const all = names(50)
    const passes = all.map(pass)
    await settled()
    t.same(begun, all.slice(0, concurrency), 'only as many have begun')
    t.match(gate, { running: concurrency, queueLength: 50 - concurrency })

    for (const [i, name] of all.entries()) {
      end(name)
      t.equal(await passes[i], name)
      await settled()
      t.same(begun, all.slice(0, concurrency + i + 1))
    }
    t.equal(most(), concurrency)
    t.match(gate, { running: 0, queueLength: 0 })
  }
})

test('a hash that ends early lets the one in that waited for longest', async (t) => {
  const { begun, pass, end } = start({ concurrency: 2, ...PATIENT })
  for (const name of ['a', 'b', 'c', 'd']) pass(name)
  await settled()
  end('b')
  await settled()
  t.same(begun, ['a', 'b', 'c'])
  end('a')
  await settled()
  t.same(begun, ['a', 'b', 'c', 'd'])
})

test('a hash that fails leaves its place to the next one', async (t) => {
  const { gate, begun, pass, end, fail } = start({ concurrency: 1, ...PATIENT })
  const [first, second] = [pass('a'), pass('b')]
  await settled()
  fail('a', new Error('out of memory'))
  await t.rejects(first, { message: 'out of memory' })
  await settled()
  t.same(begun, ['a', 'b'])
  end('b')
  t.equal(await second, 'b')

  await t.rejects(gate.pass(() => { throw new Error('at once') }), { message: 'at once' })
  t.match(gate, { running: 0, queueLength: 0 })
  t.equal(await gate.pass(async () => 'in'), 'in')
})

test('who would wait for too long is refused on arrival, and told for how long', async (t) => {
  // Before anything is measured a hash is taken for 50 ms, so that four may wait here: 4 × 50 ms ÷ 2.
  const { gate, pass, end, begun } = start({ concurrency: 2, queueTimeoutMs: 100 })
  const passes = names(6).map(pass)
  for (let i = 0; i < 3; i++) {
    t.match(await refusalOf(pass('too many')), { code: 'SERVICE_UNAVAILABLE', statusCode: 503, headers: { 'retry-after': '1' } })
  }
  t.match(gate, { running: 2, queueLength: 4 }, 'a refusal leaves nothing behind')

  for (const [i, name] of names(6).entries()) {
    end(name)
    t.equal(await passes[i], name)
    await settled()
  }
  t.same(begun, names(6))
  t.equal(await gate.pass(async () => 'late'), 'late')
})

test('the wait it tells of is in whole seconds', async (t) => {
  const { gate, pass } = start({ concurrency: 1, queueTimeoutMs: 2000 })
  names(41).forEach(pass)
  t.equal(gate.queueLength, 40)
  t.match(await refusalOf(pass('too many')), { headers: { 'retry-after': '3' } }, '41 × 50 ms')
})

test('a timeout of nothing refuses whoever would have to wait', async (t) => {
  const { gate, pass, end } = start({ concurrency: 1, queueTimeoutMs: 0 })
  const first = pass('a')
  t.match(await refusalOf(pass('b')), { statusCode: 503 })
  end('a')
  t.equal(await first, 'a')
  t.equal(await gate.pass(async () => 'c'), 'c')
})

test('the estimate follows what hashes take: after quick ones the queue may be longer', async (t) => {
  const { gate, pass } = start({ concurrency: 1, queueTimeoutMs: 100 })
  for (let i = 0; i < 250; i++) await gate.pass(async () => {})
  names(101).forEach(pass)
  t.equal(gate.queueLength, 100, 'where two could wait at first')
})

test('the estimate follows a slower hash sooner than a quicker one', async (t) => {
  let now = 0
  t.intercept(performance, 'now', { value: () => now })
  const { gate, pass } = start({ concurrency: 1, queueTimeoutMs: 1000 })
  await gate.pass(async () => { now += 150 })      // 50 ms at first, and 0.3 of what it took more
  await gate.pass(async () => { now += 50 })       // 80 ms now, less 0.03 of what it took less
  await gate.pass(async () => { now += 10_000 })   // 79.1 ms now, and 0.3 of three times as much
  for (const name of names(50)) pass(name).catch(() => {})
  t.equal(gate.queueLength, 6, '6 times 150.29 ms')
})

test('a place is kept for one hash, as long as the work before it goes on', async (t) => {
  t.intercept(performance, 'now', { value: () => 0 })      // at which no hash takes longer than was thought
  const held = Promise.withResolvers<void>()
  const [first, second] = [{}, {}]
  const callers: object[] = []
  const gate = createHashGate({ slots: createSlots(1, () => undefined), queueTimeoutMs: 50, caller: () => callers.at(-1) })
  const holder = gate.pass(() => held.promise)
  let hash: Promise<string> | undefined
  await gate.keep(first, async () => {
    t.match(await refusalOf(gate.keep(second, async () => 'second')), { statusCode: 503, headers: { 'retry-after': '1' } })
    t.match(await refusalOf(gate.pass(async () => 'unexpected')), { statusCode: 503 })
    callers.push(first)
    hash = gate.pass(async () => 'first')
    t.match(await refusalOf(gate.pass(async () => 'first again')), { statusCode: 503 })
  })
  held.resolve()
  await holder
  t.equal(await hash, 'first')

  const again = Promise.withResolvers<void>()
  const next = gate.pass(() => again.promise)
  await t.rejects(gate.keep(second, async () => { throw new Error('no hash') }), { message: 'no hash' })
  const last = gate.pass(async () => 'in its place')
  again.resolve()
  await next
  t.equal(await last, 'in its place')
})

test('while a core is free all may do what comes before their hash, and no more wait for it than have a place', async (t) => {
  const asking = new AsyncLocalStorage<object>()
  const gate = createHashGate({ slots: createSlots(1, () => undefined), queueTimeoutMs: 100, caller: () => asking.getStore() })
  const [looked, hashed] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()]
  const answers = Array.from({ length: 20 }, () => {
    const who = {}
    return asking.run(who, () => gate.keep(who, async () => {
      await looked.promise
      return gate.pass(() => hashed.promise)
    })).catch((error) => error.statusCode)
  })
  t.equal(gate.expected, 3, 'one that runs, and two that wait for 50 ms each')
  looked.resolve()
  await settled()
  t.match(gate, { running: 1, queueLength: 2, expected: 0 })
  hashed.resolve('hash')
  t.same(await Promise.all(answers), [...Array.from({ length: 3 }, () => 'hash'), ...Array.from({ length: 17 }, () => 503)])
})

test('of logins in one moment no more are looked into than there are places', async (t) => {
  const [app, other] = [await build(t, { HASH_CONCURRENCY: '1', HASH_QUEUE_TIMEOUT: '100' }), await build(t)]      // two of 50 ms
  const { email } = await signUp(other)
  const held = Promise.withResolvers<void>()
  const holder = app.passwords.gate.pass(() => held.promise)
  const logins = Array.from({ length: 20 }, async () => (await post(app, '/auth/login', { email, password: PASSWORD })).statusCode)
  await eventually(() => app.passwords.gate.queueLength === 2)
  held.resolve()
  await holder
  t.same((await Promise.all(logins)).sort(), [200, 200, ...Array.from({ length: 18 }, () => 503)])
  t.match((await app.metrics.expose()).text, /^microts_limit_decisions_total\{limit="login",decision="allowed"\} 2$/m)
})

test('no place is kept while a body is still coming', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const body = JSON.stringify({ email, password: PASSWORD })
  const payload = Readable.from((async function * () {
    yield body.slice(0, 1)
    t.equal(app.passwords.gate.expected, 0)
    yield body.slice(1)
  })())
  t.equal((await app.inject({ method: 'POST', url: '/auth/login', headers: { 'content-type': 'application/json' }, payload })).statusCode, 200)
})

test('no place is kept for who has been answered, even while an answer before that holds up its own', async (t) => {
  const slow = Promise.withResolvers<void>()
  const app = await buildWith(t, (app) => app.get('/slow', () => slow.promise), { RATE_LIMIT_LOGIN_MAX: '1' })
  const { port } = await wire(app)
  t.equal((await post(app, '/auth/login', { email: 'ada@example.com', password: 'wrong' })).statusCode, 401)
  const body = JSON.stringify({ email: 'ada@example.com', password: PASSWORD })
  const login = ['POST /auth/login HTTP/1.1', 'Host: localhost', 'Content-Type: application/json', `Content-Length: ${body.length}`, '', body]
  const socket = connect(port).on('error', () => {})
  t.teardown(slow.resolve)
  socket.write(['GET /slow HTTP/1.1', 'Host: localhost', '', ...login].join('\r\n'))
  await eventually(async () => (await app.metrics.expose()).text.includes('{limit="login",decision="refused"} 1'))
  await eventually(() => app.passwords.gate.expected === 0)
  socket.destroy()
})

test('while the gate is full, whatever needs a hash is refused at once and not counted as a failure; the rest goes on', async (t) => {
  const app = await build(t, { HASH_CONCURRENCY: '1', HASH_QUEUE_TIMEOUT: '0', RATE_LIMIT_LOGIN_MAX: '1', RATE_LIMIT_REGISTER_MAX: '2' })
  const { email, headers, refreshToken } = await signUp(app)
  const slow = Promise.withResolvers<void>()
  const held = app.passwords.gate.pass(() => slow.promise)
  const hashes = await countHashes(async () => {
    for (let i = 0; i < 3; i++) {
      const answers = [
        await post(app, '/auth/login', { email, password: PASSWORD }), await post(app, '/auth/login', { email: 'nobody@example.com', password: PASSWORD }),
        await post(app, '/auth/register', { email: 'new@example.com', password: PASSWORD }),
        await app.inject({ method: 'DELETE', url: '/me', headers, payload: { password: PASSWORD } }),
        await app.inject({ method: 'PUT', url: '/me/password', headers, payload: { currentPassword: PASSWORD, newPassword: `${PASSWORD} 2` } })
      ]
      for (const answer of answers) t.match(answer, { statusCode: 503, headers: { 'retry-after': /^[1-9]\d*$/ } })
    }
    t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
    t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 200)
  })
  t.equal(hashes, 0)

  slow.resolve()
  await held
  t.equal((await post(app, '/auth/register', { email: 'new@example.com', password: PASSWORD })).statusCode, 201)
  t.equal((await post(app, '/auth/login', { email, password: PASSWORD })).statusCode, 200)
})

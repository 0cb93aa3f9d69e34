import { mock } from 'node:test'
import { setImmediate as settled } from 'node:timers/promises'
import { test } from 'tap'
import { createBreaker, createBreakers, type Breaker } from '../../plugins/breaker.ts'
import { DECLINED, fail, failWith, start, succeed, VOLUME, WINDOW_MS } from './breaker-in-time.ts'

test('what the action answers or throws is passed on as it is, and nothing of it opens at low traffic', async (t) => {
  const { breaker, changes } = start(t)
  t.equal(await succeed(breaker), 'good')
  const error = new Error('away')
  t.equal(await failWith(breaker, error), error)
  t.equal(breaker.state, 'closed')
  await fail(breaker, VOLUME - 3)
  t.equal(breaker.state, 'closed', 'one of 20 is missing')
  t.same(changes, [])
})

test('half of 20 calls within 10 s open it', async (t) => {
  const { breaker, changes } = start(t)
  for (let i = 0; i < VOLUME / 2; i++) {
    await succeed(breaker)
    t.equal(breaker.state, 'closed')
    await fail(breaker)
  }
  t.equal(breaker.state, 'open')
  t.same(changes, ['store: closed → open'])
})

test('less than half do not, however many, nor do those of before', async (t) => {
  const { breaker } = start(t)
  for (let i = 0; i < 100; i++) {
    await succeed(breaker)
    await fail(breaker)
    await succeed(breaker)
  }
  t.equal(breaker.state, 'closed')
  mock.timers.tick(WINDOW_MS + 1000)
  await fail(breaker, VOLUME - 1)
  t.equal(breaker.state, 'closed', 'nor do 19')
  await succeed(breaker)
  mock.timers.tick(WINDOW_MS + 1000)
  await fail(breaker, VOLUME - 1)
  t.equal(breaker.state, 'closed')
})

test('20 one after another open it at once, though 10 000 good ones came before', async (t) => {
  const { breaker } = start(t)
  for (let i = 0; i < 10_000; i++) await succeed(breaker)
  await fail(breaker, VOLUME - 1)
  await succeed(breaker)
  await fail(breaker, VOLUME - 1)
  t.equal(breaker.state, 'closed')
  await fail(breaker)
  t.equal(breaker.state, 'open')
})

test('how many calls it takes may be said', async (t) => {
  const { breaker } = start(t, { volume: 3 })
  await fail(breaker, 2)
  t.equal(breaker.state, 'closed')
  await fail(breaker)
  t.equal(breaker.state, 'open')
})

test('what is done for many calls counts as many', async (t) => {
  const succeedFor = (breaker: Breaker, calls: number) => breaker.run(async () => 'good', calls)
  const failFor = (breaker: Breaker, calls: number) => breaker.run(() => Promise.reject(new Error('away')), calls).catch(() => {})
  const { breaker: inARow } = start(t)
  await succeedFor(inARow, 10 * VOLUME)
  await failFor(inARow, VOLUME - 1)
  t.equal(inARow.state, 'closed')
  await failFor(inARow, 1)
  t.equal(inARow.state, 'open')

  const { breaker: half } = start(t)
  await succeedFor(half, VOLUME - 2)
  await failFor(half, VOLUME - 3)
  t.equal(half.state, 'closed')
  await succeed(half)
  await failFor(half, 2)
  t.equal(half.state, 'open')
})

test('what says nothing of the dependency counts as a success', async (t) => {
  const { breaker } = start(t, { isFailure: (error) => !(error instanceof TypeError) })
  for (let i = 0; i < 100; i++) t.match(await failWith(breaker, new TypeError('refused')), { message: 'refused' })
  await fail(breaker, VOLUME - 1)
  await failWith(breaker, new TypeError('refused'))
  await fail(breaker, VOLUME - 1)
  t.equal(breaker.state, 'closed')
})

test('what it waits for keeps no process, and nothing is tried after the end', async (t) => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const breaker = createBreaker('store')
  await fail(breaker, VOLUME)
  t.equal(timers(), before)
  breaker.shutdown()
  await t.rejects(succeed(breaker), DECLINED)
})

test('the breakers of a process are known by name, and their changes by whoever listens, with the cause', async (t) => {
  const breakers = createBreakers()
  t.teardown(() => breakers.shutdown())
  const told: unknown[][] = [[], []]
  for (const list of told) breakers.onChange((change) => list.push(change))
  const [store, cautious] = [breakers.create('store'), breakers.create('cautious', { isFailure: () => false })]
  t.same(['store', 'cautious', 'other'].map(breakers.stateOf), ['closed', 'closed', 'disabled'])
  await Promise.all([fail(store, VOLUME), fail(cautious, VOLUME)])
  await settled()
  t.same(['store', 'cautious'].map(breakers.stateOf), ['open', 'closed'])
  for (const list of told) t.match(list, [{ name: 'store', from: 'closed', to: 'open', cause: { message: 'away' } }])
  breakers.shutdown()
  await t.rejects(succeed(cautious), { code: 'SERVICE_UNAVAILABLE' })
})

import { getEventListeners } from 'node:events'
import { mock } from 'node:test'
import { setImmediate as settled } from 'node:timers/promises'
import { test } from 'tap'
import { start } from './slots-in-time.ts'

const PATIENCE_MS = 1000
const REFUSED = { code: 'SERVICE_UNAVAILABLE', statusCode: 503, headers: { 'retry-after': '1' } }

test('as many go on at a time as there are slots, in the order of arrival, and each gets its own answer', async (t) => {
  const { slots, begun, pass, end } = start(t, 2)
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => pass(name))
  await settled()
  t.same(begun, ['a', 'b'])
  t.match(slots, { count: 2, taken: 2, waiting: 2 })
  end('b')
  t.equal(await b, 'b')
  await settled()
  t.same(begun, ['a', 'b', 'c'])
  end('c')
  end('a')
  t.same(await Promise.all([a, c]), ['a', 'c'])
  await settled()
  end('d')
  t.equal(await d, 'd')
  t.match(slots, { taken: 0, waiting: 0 })
})

test('who waits is patient for so long and no longer, and then has never been there', async (t) => {
  const { slots, begun, pass, end } = start(t, 1)
  const held = pass('held')
  const [impatient, patient] = [pass('impatient', { patienceMs: PATIENCE_MS }), pass('patient')]
  mock.timers.tick(PATIENCE_MS - 1)
  await settled()
  t.equal(slots.waiting, 2)
  mock.timers.tick(1)
  await t.rejects(impatient, { ...REFUSED, reason: `no slot was free within ${PATIENCE_MS} ms` })
  end('held')
  await held
  await settled()
  t.same(begun, ['held', 'patient'])
  mock.timers.tick(PATIENCE_MS)
  end('patient')
  t.equal(await patient, 'patient', 'who has a slot is left alone')
  t.match(slots, { taken: 0, waiting: 0 })
})

test('the deadline of its request ends the wait with its reason, and nothing is left of it', async (t) => {
  const { slots, begun, pass, end } = start(t, 1)
  const held = pass('held')
  const request = new AbortController()
  const waiting = pass('waiting', { signal: request.signal, patienceMs: PATIENCE_MS })
  request.abort(new Error('the client has left'))
  await t.rejects(waiting, { message: 'the client has left' })
  await t.rejects(pass('late', { signal: request.signal }), { message: 'the client has left' })
  t.same([slots.taken, slots.waiting, getEventListeners(request.signal, 'abort').length], [1, 0, 0])
  end('held')
  await held
  await t.rejects(pass('later', { signal: request.signal }), { message: 'the client has left' }, 'though a slot is free')
  t.same(begun, ['held'])
  t.match(slots, { taken: 0, waiting: 0 })
})

test('a slot that is handed over at the moment of the deadline is not lost', async (t) => {
  const { slots, pass, end } = start(t, 1)
  const held = pass('held')
  const request = new AbortController()
  const waiting = pass('waiting', { signal: request.signal, patienceMs: PATIENCE_MS })
  end('held')
  await held
  request.abort(new Error('the client has left'))
  mock.timers.tick(PATIENCE_MS)
  await settled()
  end('waiting')
  t.equal(await waiting, 'waiting')
  t.same([slots.taken, slots.waiting, getEventListeners(request.signal, 'abort').length], [0, 0, 0])
})

test('what fails, at once or later, leaves its slot to the next one', async (t) => {
  const { slots, pass, fail, end } = start(t, 1)
  const [first, second] = [pass('first'), pass('second')]
  fail('first')
  await t.rejects(first, { message: 'first' })
  await settled()
  end('second')
  t.equal(await second, 'second')
  await t.rejects(slots.pass(() => { throw new Error('at once') }), { message: 'at once' })
  t.match(slots, { taken: 0, waiting: 0 })
})

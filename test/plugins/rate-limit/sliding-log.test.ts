import { test } from 'tap'
import { SlidingLog } from '../../../plugins/rate-limit/sliding-log.ts'

const WINDOW = 1000
const MAX = 5
// So many keys that hold one slot each are more than fit, and so many that hold two.
const FULL = 95_239
const FULL_OF_TWO = 90_910

/** A log on a clock that stands still until it is told to go on. */
function start () {
  const clock = { now: 0 }
  const log = new SlidingLog(() => clock.now)
  let slotId = 0
  const ask = (how: 'take' | 'look', value: string, max: number, dimension: string) => {
    const slot = { dimension, value, id: slotId++ }
    const decision = log[how](slot, WINDOW, max)
    return { ...decision, slot, isTaken: decision.current <= max }
  }
  return {
    log,
    clock,
    take: (name = 'a', max = MAX, dimension = 'address') => ask('take', name, max, dimension),
    look: (name = 'a', max = MAX, dimension = 'address') => ask('look', name, max, dimension)
  }
}

test('the n-th slot frees exactly one window after it was taken', async (t) => {
  const { clock, take } = start()
  const takenAt = [0, 10, 11, 500, 999]
  for (const at of takenAt) {
    clock.now = at
    t.ok(take().isTaken)
  }
  for (const at of takenAt) {
    clock.now = at + WINDOW - 1
    t.match(take(), { isTaken: false, current: MAX + 1, ttl: 1 })
    clock.now = at + WINDOW
    t.match(take(), { isTaken: true })
    t.match(take(), { isTaken: false })
  }
})

test('however many there are, each frees when its window is over', async (t) => {
  const { log, clock, take, look } = start()
  const most = 200
  for (clock.now = 0; clock.now < most; clock.now++) take('a', most)
  for (let freed = 1; freed <= most; freed++) {
    clock.now = WINDOW + freed - 1
    t.match(look('a', most), { current: most - freed, ttl: freed === most ? 0 : 1 })
  }
  t.equal(log.size, 0)
})

test('a fraction of a millisecond does not open the window early', async (t) => {
  const { clock, take } = start()
  clock.now = 0.3
  take('a', 1)
  clock.now = 1000.2
  t.match(take('a', 1), { isTaken: false })
  clock.now = 1000.4
  t.match(take('a', 1), { isTaken: true })
})

test('a refused request takes nothing: who goes on asking is let in as soon as the others', async (t) => {
  const { clock, take } = start()
  for (let i = 0; i < MAX; i++) take()
  for (clock.now = 1; clock.now < WINDOW; clock.now++) t.equal(take().isTaken, false)
  t.same(Array.from({ length: MAX + 1 }, () => take().isTaken), [true, true, true, true, true, false])
})

test('a refund gives back exactly that slot', async (t) => {
  const { log, clock, take, look } = start()
  const slots = [0, 100, 200, 300, 400].map((at) => {
    clock.now = at
    return take().slot
  })
  log.refund(slots[2]!)
  t.match(look(), { current: MAX - 1, ttl: 600 }, 'the oldest is still the oldest')
  log.refund(slots[2]!)
  t.match(look(), { current: MAX - 1 }, 'a second refund of it gives nothing')
  log.refund(slots[0]!)
  t.match(look(), { current: MAX - 2, ttl: 700 }, 'now the second one is')

  const refused = start()
  const all = Array.from({ length: MAX + 1 }, () => refused.take())
  refused.log.refund(all[MAX]!.slot)
  t.match(refused.take(), { isTaken: false }, 'a refused request has nothing to give back')
  t.doesNotThrow(() => refused.log.refund({ dimension: 'address', value: 'unknown', id: 0 }))
})

test('each key has a log of its own, whatever characters are in it', async (t) => {
  const { log, take, look } = start()
  const names = ['a', 'b', 'a|0', 'a|1', '{a}', '']
  for (const name of names) t.match(take(name, 1), { isTaken: true }, name)
  for (const name of names) t.match(look(name, 1), { isTaken: false }, name)
  t.equal(log.size, names.length)
})

test('clear forgets a key and no other', async (t) => {
  const { log, take, look } = start()
  const { slot } = take()
  take()
  take('b')
  log.clear(slot)
  log.clear(slot)
  t.match(look(), { current: 0, ttl: 0 })
  t.match(look('b'), { current: 1 })
})

test('reading takes no slot and says what taking one would', async (t) => {
  const { log, clock, take, look } = start()
  t.match(look(), { current: 0, ttl: 0, isTaken: true })
  t.equal(log.size, 0, 'a key that was only read is not kept')
  for (let i = 0; i < MAX; i++) take()
  clock.now = 400
  for (let i = 0; i < 3; i++) t.match(look(), { current: MAX + 1, ttl: 600, isTaken: false })
  clock.now = WINDOW
  t.match(look(), { current: 0, isTaken: true })
})

test('pruning drops the keys that are free again, and no slot that is taken', async (t) => {
  const { log, clock, take, look } = start()
  take('early')
  log.refund(take('given back').slot)
  clock.now = WINDOW - 1
  take('late')
  clock.now = WINDOW
  log.prune()
  t.equal(log.size, 1)
  t.match(look('late'), { current: 1, ttl: WINDOW - 1 })
})

test('memory is bounded: of too many slots those of the keys go that hold least, the oldest first', async (t) => {
  const { log, take, look } = start()
  for (let i = 0; i < 4; i++) take('under attack')
  for (let i = 0; i < 5 * FULL; i++) take(String(i))
  t.ok(log.size <= FULL && log.size > FULL / 2, `${log.size}`)
  const last = 5 * FULL - 1
  t.match(look('under attack'), { current: 4 })
  for (const ago of [last, FULL]) t.match(look(String(last - ago)), { current: 0 })
  for (const ago of [FULL >> 2, 0]) t.match(look(String(last - ago)), { current: 1 })
})

test('what many users do at once within their limits is all kept', async (t) => {
  const { log, take } = start()
  for (let i = 0; i < 600_000; i++) take(String(i % 2000), 300)
  t.equal(log.size, 600_000)
  t.match(take('0', 300), { isTaken: false })
})

test('what is free again goes before anything else', async (t) => {
  const { log, clock, take, look } = start()
  for (let i = 0; i < FULL; i++) take(String(i))
  clock.now = WINDOW
  take('alone')
  t.equal(log.size, 1)
  t.match(look('alone'), { current: 1 })
})

test('where all is full, a key that is new is counted as any other, whatever else is new', async (t) => {
  const { take, look } = start()
  for (let i = 0; i < 2 * FULL_OF_TWO; i++) take(String(i >> 1))
  for (let i = 0; i < MAX; i++) for (const name of ['new', `another ${i}`, `one more ${i}`]) take(name)
  t.match(look('new'), { current: MAX + 1 })
})

test('who floods one dimension makes no room in another', async (t) => {
  const { take, look } = start()
  take('of a day', MAX, 'account')
  for (let i = 0; i < 2 * FULL; i++) take(String(i))
  t.match(look('of a day', MAX, 'account'), { current: 1 })
})

test('by default time is monotonic and runs', async (t) => {
  const log = new SlidingLog()
  const slot = { dimension: 'address', value: 'a', id: 0 }
  const times: number[] = []
  times.push(log.take(slot, WINDOW, 1).ttl)
  while (times.at(-1) === times[0]) times.push(log.look(slot, WINDOW, 1).ttl)
  t.ok(times[0]! <= WINDOW && times.at(-1)! < times[0]!)
})

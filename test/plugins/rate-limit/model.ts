import fc from 'fast-check'

export type Limit = { max: number, windowMs: number }
export type Call = { now: number, act: 'take' | 'look' | 'refund' | 'clear', key: number, id: number }
/** What is said to who takes or looks; the others are told nothing. */
export type Verdict = { current: number, ttlUs: number } | void
type Step = { act: Call['act'] | 'wait' | 'wait until one frees', key: number, nth: number, windows: number, ticks: number }

// An eighth of a millisecond: a whole number of microseconds, and as a fraction of milliseconds exact, so that nothing is rounded.
const TICK_US = 125
// Tomorrow, and windows longer than the test: Redis lets keys go by its own clock.
const START_US = (Date.now() + 86_400_000) * 1000
const WINDOWS_MS = [60_000, 60_001, 900_000, 86_400_000]
const MOST_STEPS = 80

export const limits = fc.array(fc.record({ max: fc.integer({ min: 1, max: 6 }), windowMs: fc.constantFrom(...WINDOWS_MS) }), { minLength: 1, maxLength: 3 })

const ACTS: Step['act'][] = ['take', 'take', 'take', 'take', 'take', 'look', 'refund', 'clear', 'wait', 'wait until one frees', 'wait until one frees']
export const steps = fc.array(fc.record({
  act: fc.constantFrom(...ACTS),
  key: fc.nat(2),
  nth: fc.nat(MOST_STEPS),
  windows: fc.double({ min: 0, max: 1.5, noNaN: true }),
  ticks: fc.integer({ min: -1, max: 1 })
}), { minLength: 1, maxLength: MOST_STEPS, size: 'max' })

/** Which calls these steps come to, when, and what the definition says to each. */
export function plan (limits: Limit[], steps: Step[]) {
  const model = createModel(limits)
  const calls: Call[] = []
  const verdicts: Verdict[] = []
  let now = START_US
  for (const { act, key: any, nth, windows, ticks } of steps) {
    const key = any % limits.length
    if (act === 'wait') now += Math.round(windows * limits[key]!.windowMs * 1000 / TICK_US) * TICK_US
    else if (act === 'wait until one frees') now = Math.max(now, model.nextFree(key, now) + ticks * TICK_US)
    else {
      // Some were never taken, or are given back for the second time.
      const id = act === 'refund' ? nth % (calls.length + 1) : calls.length
      calls.push({ now, act, key: calls[id]?.key ?? key, id })
      verdicts.push(model[act](calls.at(-1)!))
    }
  }
  return { calls, verdicts }
}

/** The definition: each slot that was taken is held for one window, or until it is given back; who finds as many as may be is refused. */
function createModel (limits: Limit[]) {
  let slots: { id: number, key: number, freeAt: number }[] = []
  const held = (key: number, now: number) => slots.filter((slot) => slot.key === key && slot.freeAt > now)
  const nextFree = (key: number, now: number) => held(key, now)[0]?.freeAt ?? now

  return {
    nextFree,
    take ({ now, key, id }: Call): Verdict {
      const { max, windowMs } = limits[key]!
      const current = held(key, now).length + 1
      if (current <= max) slots.push({ id, key, freeAt: now + windowMs * 1000 })
      return { current, ttlUs: nextFree(key, now) - now }
    },
    look ({ now, key }: Call): Verdict {
      const taken = held(key, now).length
      return { current: taken < limits[key]!.max ? taken : taken + 1, ttlUs: nextFree(key, now) - now }
    },
    refund ({ id }: Call): Verdict { slots = slots.filter((slot) => slot.id !== id) },
    clear ({ key }: Call): Verdict { slots = slots.filter((slot) => slot.key !== key) }
  }
}

/** Of the slots of a key that were never given back, the most that were taken within one window, wherever it begins. */
export function fullest (calls: Call[], verdicts: Verdict[], key: number, { max, windowMs }: Limit) {
  const taken = calls.filter((call, i) => call.act === 'take' && call.key === key && verdicts[i]!.current <= max)
  const kept = taken.filter(({ id }) => !calls.some((later) => (later.act === 'refund' && later.id === id) || (later.act === 'clear' && later.key === key && later.id > id)))
  return Math.max(0, ...kept.map(({ now: from }) => kept.filter(({ now }) => now >= from && now - from < windowMs * 1000).length))
}

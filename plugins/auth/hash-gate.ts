import { performance } from 'node:perf_hooks'
import { declined } from '../errors.ts'
import type { Slots } from '../slots.ts'

type Options = { slots: Slots, queueTimeoutMs: number, caller?: () => object | undefined, onHash?: (ms: number) => void, onDecline?: () => void }

const FIRST_GUESS_MS = 50
// A slower hash is believed sooner than a quicker one: those let in while a few were quick would wait for longer than they were promised.
const WEIGHT_OF_SLOWER = 0.3
const WEIGHT_OF_QUICKER = 0.03
// One that met a pause of the whole process says little of the others.
const MOST_TIMES_MEAN = 4

/**
 * Lets as many hashes run at a time as there are cores: more would only add latency.
 * Who would wait longer than the queue's timeout is refused on arrival, in contrast to being kept and refused later.
 * `caller` says who asks for a hash, by what it was expected as.
 */
export function createHashGate ({ slots, queueTimeoutMs, caller = () => undefined, onHash = () => {}, onDecline = () => {} }: Options) {
  const expected = new Set<object>()
  let meanMs = FIRST_GUESS_MS

  return {
    get queueLength () { return slots.waiting },
    get running () { return slots.taken },

    refuseIfFull,

    /** Keeps a place for who has something else to do before its hash: or more would do that than there are places. Throws ServiceUnavailable where `pass` would. */
    expect (caller: object) {
      refuseIfFull()
      expected.add(caller)
    },

    /** Who was expected has come to its end, with a hash or without. */
    forget (caller: object) {
      expected.delete(caller)
    },

    async pass<Result> (hash: () => Promise<Result>): Promise<Result> {
      const who = caller()
      if (!who || !expected.delete(who)) refuseIfFull()
      return slots.pass(async () => {
        const startedAt = performance.now()
        try {
          return await hash()
        } finally {
          const tookMs = performance.now() - startedAt
          const moreMs = Math.min(tookMs, MOST_TIMES_MEAN * meanMs) - meanMs
          meanMs += moreMs * (moreMs > 0 ? WEIGHT_OF_SLOWER : WEIGHT_OF_QUICKER)
          onHash(tookMs)
        }
      })
    }
  }

  /** Throws ServiceUnavailable where `pass` would: for who can tell before any other work is done. */
  function refuseIfFull () {
    const ahead = slots.taken + slots.waiting + expected.size
    if (ahead < slots.count) return
    const waitMs = (ahead - slots.count + 1) * meanMs / slots.count
    if (waitMs <= queueTimeoutMs) return
    onDecline()
    throw declined('too many hashes are waiting', Math.ceil(waitMs / 1000))
  }
}

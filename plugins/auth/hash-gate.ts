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
 * Who would wait longer than the queue's timeout is refused on arrival, in contrast to being held and refused later.
 * `caller` tells who is asking: the object that `keep` was given.
 */
export function createHashGate ({ slots, queueTimeoutMs, caller = () => undefined, onHash = () => {}, onDecline = () => {} }: Options) {
  const expected = new Set<object>()
  let meanMs = FIRST_GUESS_MS

  return {
    get queueLength () { return slots.waiting },
    get running () { return slots.taken },
    get expected () { return expected.size },
    /** Whether who comes now would be let in. */
    get hasRoom () { return hasRoom() },

    refuseIfFull,

    /**
     * Keeps a place for `who` while `work` goes on, until it asks for its hash: of those who do other things first, no more do them than
     * there are places. Throws ServiceUnavailable where there is none. While a core is free all are let in, and those beyond the places
     * may still be refused by `pass`.
     */
    async keep<Result> (who: object, work: () => Promise<Result>): Promise<Result> {
      refuseIfFull()
      if (waitMs() <= queueTimeoutMs) expected.add(who)
      try {
        return await work()
      } finally {
        expected.delete(who)
      }
    },

    /** Throws ServiceUnavailable where no place was kept and there is none. */
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

  // While a core is free it is something else that holds up those who are expected.
  function refuseIfFull () {
    if (hasRoom()) return
    onDecline()
    throw declined('too many hashes are waiting', Math.ceil(waitMs() / 1000))
  }

  function hasRoom () {
    return slots.taken < slots.count || waitMs() <= queueTimeoutMs
  }

  /** How long who comes now would wait. */
  function waitMs () {
    return (slots.taken + slots.waiting + expected.size - slots.count + 1) * meanMs / slots.count
  }
}

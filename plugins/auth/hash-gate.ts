import { performance } from 'node:perf_hooks'
import { declined } from '../errors.ts'
import type { Slots } from '../slots.ts'

type Options = { slots: Slots, queueTimeoutMs: number, onHash?: (ms: number) => void, onDecline?: () => void }

const FIRST_GUESS_MS = 50
// A slower hash is believed sooner than a quicker one: those let in while a few were quick would wait for longer than they were promised.
const WEIGHT_OF_SLOWER = 0.3
const WEIGHT_OF_QUICKER = 0.03
// One that met a pause of the whole process says little of the others.
const MOST_TIMES_MEAN = 4

/**
 * Lets as many hashes run at a time as there are cores: more would only add latency.
 * Who would wait longer than the queue's timeout is refused on arrival, in contrast to being kept and refused later.
 */
export function createHashGate ({ slots, queueTimeoutMs, onHash = () => {}, onDecline = () => {} }: Options) {
  let meanMs = FIRST_GUESS_MS

  return {
    get queueLength () { return slots.waiting },
    get running () { return slots.taken },

    refuseIfFull,

    async pass<Result> (hash: () => Promise<Result>): Promise<Result> {
      refuseIfFull()
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
    if (slots.taken < slots.count) return
    const waitMs = (slots.waiting + 1) * meanMs / slots.count
    if (waitMs <= queueTimeoutMs) return
    onDecline()
    throw declined('too many hashes are waiting', Math.ceil(waitMs / 1000))
  }
}

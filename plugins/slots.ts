import fp from 'fastify-plugin'
import { declined } from './errors.ts'
import type { Signal } from './deadline.ts'

declare module 'fastify' {
  interface FastifyInstance {
    slots: (count: number) => Slots
  }
}

export type Slots = ReturnType<typeof createSlots>

/** A bulkhead: so much goes on at a time. Who comes later waits in turn, but not beyond the deadline of the request. */
export function createSlots (count: number, deadline: () => Signal | undefined) {
  const waiting = new Set<() => void>()      // in the order of arrival
  let taken = 0

  return {
    count,
    get taken () { return taken },
    get waiting () { return waiting.size },

    /** Works in a slot. Throws ServiceUnavailable, or what the deadline says, when none is free within `patienceMs`. */
    async pass<Result> (work: () => Promise<Result>, patienceMs?: number): Promise<Result> {
      const signal = deadline()
      signal?.throwIfAborted()
      if (taken < count) taken++
      else await turn(signal, patienceMs)
      try {
        return await work()
      } finally {
        leave()
      }
    }
  }

  async function turn (signal: Signal | undefined, patienceMs: number | undefined) {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const giveUp = () => {
      if (waiting.delete(resolve)) reject(signal?.aborted ? signal.reason : declined(`no slot was free within ${patienceMs} ms`))
    }
    const timer = patienceMs === undefined ? undefined : setTimeout(giveUp, patienceMs)
    waiting.add(resolve)
    signal?.addEventListener('abort', giveUp)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', giveUp)
    }
  }

  // Who has waited for longest takes over the slot of who leaves.
  function leave () {
    const [next] = waiting
    if (!next) {
      taken--
      return
    }
    waiting.delete(next)
    next()
  }
}

export default fp(async (app) => {
  app.decorate('slots', (count: number) => createSlots(count, app.deadline))
}, { name: 'slots', dependencies: ['deadline'] })

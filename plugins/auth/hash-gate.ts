import { performance } from 'node:perf_hooks'
import { ServiceUnavailable, refusal } from '../errors.ts'

type Options = { concurrency: number, queueTimeoutMs: number }

const FIRST_GUESS_MS = 50
const WEIGHT_OF_LATEST = 0.1

/**
 * Lets as many hashes run at a time as there are cores: more would only add latency.
 * Who would wait longer than the queue's timeout is refused on arrival, in contrast to being kept and refused later.
 */
export function createHashGate ({ concurrency, queueTimeoutMs }: Options) {
  const queue: (() => void)[] = []
  let running = 0
  let meanMs = FIRST_GUESS_MS

  return {
    get queueLength () { return queue.length },
    get running () { return running },

    async pass<Result> (hash: () => Promise<Result>): Promise<Result> {
      await enter()
      const startedAt = performance.now()
      try {
        return await hash()
      } finally {
        meanMs += (performance.now() - startedAt - meanMs) * WEIGHT_OF_LATEST
        leave()
      }
    }
  }

  async function enter () {
    if (running < concurrency) {
      running++
      return
    }
    const waitMs = (queue.length + 1) * meanMs / concurrency
    if (waitMs > queueTimeoutMs) {
      throw refusal(new ServiceUnavailable(), { headers: { 'retry-after': String(Math.ceil(waitMs / 1000)) } })
    }
    await new Promise<void>((resolve) => queue.push(resolve))
  }

  // Who waits takes over the place of who leaves.
  function leave () {
    const next = queue.shift()
    if (next) next()
    else running--
  }
}

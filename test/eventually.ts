import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

const PAUSE_MS = 10

/** Asks until the answer is yes, and says how long that took. Throws when it takes longer than `withinMs`. */
export async function eventually (isSo: () => boolean | Promise<boolean>, withinMs = 10_000) {
  const startedAt = performance.now()
  while (!await isSo()) {
    if (performance.now() - startedAt > withinMs) throw new Error(`not within ${withinMs} ms: ${isSo}`)
    await delay(PAUSE_MS)
  }
  return Math.round(performance.now() - startedAt)
}

import { performance } from 'node:perf_hooks'

/** When PostgreSQL was last away, as this process saw it: from the first failure to the first success after it. */
export function createOutages () {
  let awaySince: number | undefined
  let last: { startedAt: number, endedAt: number } | undefined

  return {
    begin () {
      awaySince ??= performance.now()
    },

    end () {
      if (awaySince !== undefined) last = { startedAt: awaySince, endedAt: performance.now() }
      awaySince = undefined
    },

    last: () => last && { startedAgoMs: performance.now() - last.startedAt, endedAgoMs: performance.now() - last.endedAt }
  }
}

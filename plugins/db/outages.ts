const LONGEST_MS = 3_600_000

/**
 * When PostgreSQL was last away, as this process saw it: from the first failure to the first success after it. One that follows within
 * `graceMs` goes on with it, since what a success was told of may have been a part: reads are answered while commits wait for a standby.
 */
export function createOutages (graceMs: number, now = () => performance.now()) {
  let awaySince: number | undefined
  let last: { startedAt: number, endedAt: number } | undefined

  return {
    begin () {
      awaySince ??= last && isRecent(last) ? last.startedAt : now()
    },

    end () {
      if (awaySince !== undefined) last = { startedAt: awaySince, endedAt: now() }
      awaySince = undefined
    },

    last: () => last && { startedAgoMs: now() - last.startedAt, endedAgoMs: now() - last.endedAt }
  }

  // A trickle of failures is none, or the parents of tokens would be good for ever.
  function isRecent ({ startedAt, endedAt }: { startedAt: number, endedAt: number }) {
    return now() - endedAt <= graceMs && now() - startedAt <= LONGEST_MS
  }
}

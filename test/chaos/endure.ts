import type { Outcome, Row } from './row.ts'
import type { Test } from 'tap'

/** What came of it. Where even that cannot be said, the promise is not kept. */
export async function endure (t: Test, row: Row): Promise<Outcome> {
  const outcome = await row.endure(t).catch((error: Error): Outcome => ({ measured: `nothing, for ${error.message}`, isKept: false, evidence: error.stack }))
  t.ok(outcome.isKept, `${row.promise} (measured: ${outcome.measured})`, { evidence: outcome.evidence })
  return outcome
}

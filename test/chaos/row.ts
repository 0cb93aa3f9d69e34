import type { Test } from 'tap'

/** A row of the fault table: what goes wrong, what is promised, and how to find out. */
export type Row = {
  fault: string
  promise: string
  /** Lets it happen to a running service under load, and says what was measured. Whatever it starts is gone with the test. */
  endure: (t: Test) => Promise<Outcome>
  /** Quick enough to be a part of `npm test` as well. */
  isShort?: true
}

export type Outcome = {
  /** In a few words and figures, for the table. */
  measured: string
  isKept: boolean
  /** What shows that the promise was broken. */
  evidence?: unknown
}

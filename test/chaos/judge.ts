import type { Answer } from './client.ts'
import type { Outcome } from './row.ts'

const MOST_EVIDENCE = 5
const PROBES_MS = 50
const GUARDED = /^(GET|PATCH) \/me|^POST \/auth\/(refresh|login|logout)/
const ALWAYS = /^GET \/(health|\.well-known)/

/** Those that cannot be answered without PostgreSQL, and those that can, whatever happens. */
export const needsDatabase = ({ route }: Answer) => GUARDED.test(route)
export const needsNothing = ({ route }: Answer) => ALWAYS.test(route)
export const isGood = ({ status }: Answer) => status >= 200 && status < 300
/** An honest "not now". */
export const isDeclined = ({ status, retryAfter }: Answer) => status === 503 && /^[1-9]\d*$/.test(retryAfter ?? '')

/** Neither good nor an honest "not now", to somebody who does everything right; and whatever goes wrong where nothing can. */
export const wrongWhileAway = (answers: Answer[]) => [
  ...answers.filter((answer) => needsDatabase(answer) && !isGood(answer) && !isDeclined(answer)),
  ...answers.filter((answer) => !needsDatabase(answer) && answer.route !== 'GET /ready' && !isGood(answer))
]
/** Whether nine of ten probes took 50 ms more than before at the most: of some fifty, a higher percentile would be the pause of one. */
export const areProbesQuick = (before: Answer[], meanwhile: Answer[]) => percentile(meanwhile.filter(needsNothing), 90) <= PROBES_MS + percentile(before.filter(needsNothing), 90)
export const failed = (answers: Answer[]) => answers.filter((answer) => !isGood(answer))

export const during = (answers: Answer[], from: number, to = Infinity) => answers.filter(({ sentAt }) => sentAt >= from && sentAt < to)

/** What so many percent of the answers took at the most, ms. */
export function percentile (answers: { ms: number }[], percent: number) {
  const sorted = answers.map(({ ms }) => ms).sort((a, b) => a - b)
  return Math.round(sorted[Math.max(0, Math.ceil(sorted.length * percent / 100) - 1)] ?? 0)
}
export const slowest = (answers: { ms: number }[]) => percentile(answers, 100)

/** How often /ready went from one to the other. */
export function transitions (answers: Answer[]) {
  const states = answers.filter(({ route }) => route === 'GET /ready').sort((a, b) => a.sentAt - b.sentAt).map(({ status }) => status)
  return states.filter((status, i) => i > 0 && status !== states[i - 1]).length
}

export const seconds = (ms: number) => Number.isFinite(ms) ? `${(ms / 1000).toFixed(1)} s` : 'never'

/** Of each claim either whether it holds, or what speaks against it. */
export function judged (measured: string, claims: Record<string, boolean | unknown[]>): Outcome {
  const broken = Object.entries(claims).filter(([, claim]) => Array.isArray(claim) ? claim.length > 0 : !claim)
  const evidence = Object.fromEntries(broken.map(([what, claim]) => [what, Array.isArray(claim) ? { count: claim.length, first: claim.slice(0, MOST_EVIDENCE).map(inShort) } : claim]))
  return { measured, isKept: broken.length === 0, evidence: broken.length ? evidence : undefined }
}

function inShort (speaksAgainst: unknown) {
  const { body, ...rest } = speaksAgainst as { body?: unknown }
  return rest
}

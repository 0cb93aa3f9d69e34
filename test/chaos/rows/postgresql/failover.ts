import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { during, isDeclined, judged, needsDatabase, seconds, slowest, transitions, wrongWhileAway } from '../../judge.ts'
import { startPair } from '../../standby.ts'
import { startWorld } from '../../world.ts'
import type { Row } from '../../row.ts'
import type { Test } from 'tap'

const LAG_MS = 1000
const READ_ONLY_MS = 5000
const BACK_MS = 5000

export const rows: Row[] = [{
  fault: 'PostgreSQL becomes its read-only standby, a second behind, which is promoted after 5 s',
  promise: 'writes 503 + Retry-After, never 401 or 500; unready meanwhile; good again ≤ 5 s after the promotion; nothing acknowledged is lost that was replicated',
  endure: failOver
}]

async function failOver (t: Test) {
  const { primary, standby } = await startPair(t)
  const world = await startWorld(t, { target: primary.url, query: standby.query })
  await standby.fallBehind()
  await delay(LAG_MS)
  const struckAt = performance.now()
  world.database.lead(standby.url)
  await delay(READ_ONLY_MS)
  await standby.catchUp()
  await primary.stop()      // which sends all that it has written
  await standby.promote()
  const healedAt = performance.now()
  const { backMs, losses } = await world.recovery(healedAt)

  const { answers } = world.load
  const declined = during(answers, struckAt, healedAt).filter(isDeclined).filter(needsDatabase)
  return judged(`${declined.length} × 503, longest ${seconds(slowest(declined))}; /ready changed ${transitions(answers)} times; good again: ${seconds(backMs)}`, {
    'good or 503 with Retry-After; /health and JWKS go on': wrongWhileAway(during(answers, 0)),
    'it was noticed': declined.length > 0,
    'changes of /ready': transitions(answers) === 2,
    'good again': backMs <= BACK_MS,
    'nothing acknowledged is lost': losses,
    'the process is alive': world.isAlive
  })
}

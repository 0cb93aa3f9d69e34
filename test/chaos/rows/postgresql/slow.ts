import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { during, judged, needsDatabase, needsNothing, percentile, seconds, slowest, wrongWhileAway } from '../../judge.ts'
import { startWorld } from '../../world.ts'
import type { Row } from '../../row.ts'

const SLOW_MS = 6000
const BACK_MS = 5000
const GROWTH_MB = 100
const PROBE_MS = 100
const REFRESH_MS = 5000      // its own deadline
const SPARE_MS = 500         // for a machine that has other things to do

const slow = (packetMs: number, mostMs: number): Row['endure'] => async (t) => {
  const world = await startWorld(t)
  const memoryBefore = await world.memory()
  const struckAt = performance.now()
  await world.database.set('delay', packetMs)
  await delay(SLOW_MS)
  const grownMb = await world.memory() - memoryBefore
  const healedAt = performance.now()
  await world.database.set('pass')
  const { backMs, losses } = await world.recovery(healedAt)

  const { answers } = world.load
  const meanwhile = during(answers, struckAt, healedAt)
  const needy = meanwhile.filter(needsDatabase)
  const refreshes = needy.filter(({ route }) => route === 'POST /auth/refresh')
  const probes = meanwhile.filter(needsNothing)
  const declined = needy.filter(({ status }) => status === 503)
  return judged([
    `${needy.length} answers, ${declined.length} of them 503: median ${percentile(needy, 50)} ms, longest ${seconds(slowest(needy))}`,
    `/health and JWKS median ${percentile(probes, 50)} ms, p99 ${percentile(probes, 99)} ms`, `${grownMb >= 0 ? '+' : ''}${grownMb} MB`, `good again: ${seconds(backMs)}`
  ].join('; '), {
    'good or 503 with Retry-After; /health and JWKS go on': wrongWhileAway(during(answers, 0)),
    'it was noticed': declined.length > 0,
    'longest answer': slowest(needy) <= mostMs + SPARE_MS,
    'longest refresh': slowest(refreshes) <= Math.min(mostMs, REFRESH_MS) + SPARE_MS,
    'median of /health and JWKS': percentile(probes, 50) <= PROBE_MS,
    memory: !(grownMb > GROWTH_MB),
    'good again': backMs <= BACK_MS,
    'nothing acknowledged is lost': losses,
    'the process is alive': world.isAlive
  })
}

export const rows: Row[] = [
  {
    fault: 'PostgreSQL: +500 ms a packet',
    promise: 'good or 503 + Retry-After within the deadlines (refresh 5 s, else 12 s); memory and /health bounded; good again ≤ 5 s',
    endure: slow(500, 12_000)
  },
  {
    fault: 'PostgreSQL: +5 s a packet',
    promise: 'every answer ≤ 3 s, then as above',
    endure: slow(5000, 3000)
  }
]

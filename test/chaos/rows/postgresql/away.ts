import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { areProbesQuick, during, isDeclined, judged, needsDatabase, needsNothing, percentile, seconds, slowest, transitions, wrongWhileAway } from '../../judge.ts'
import { saidAt, startWorld } from '../../world.ts'
import type { Row } from '../../row.ts'

const AWAY_MS = 5000
const UNREADY_MS = 5000
const BACK_MS = 5000
const AT_ONCE_MS = 20

type Manner = { mode: 'refuse' | 'swallow', p99Ms: number, mostMs: number }

// What /health and the keys take meanwhile tells how busy the machine is: on an idle one it is next to nothing.
const away = ({ mode, p99Ms, mostMs }: Manner): Row['endure'] => async (t) => {
  const world = await startWorld(t)
  const struckAt = performance.now()
  await world.database.set(mode)
  await delay(AWAY_MS)
  const healedAt = performance.now()
  await world.database.set('pass')
  const { backMs, losses } = await world.recovery(healedAt)

  const { answers } = world.load
  const meanwhile = during(answers, struckAt, healedAt)
  const declined = meanwhile.filter(isDeclined).filter(needsDatabase)
  const openAt = saidAt(world, ({ dependencies }) => dependencies.database.breaker === 'open', struckAt) ?? Infinity
  const declinedAtOnce = during(declined, openAt)
  const probes = meanwhile.filter(needsNothing)
  const unreadyMs = (answers.find(({ route, status, sentAt }) => route === 'GET /ready' && status === 503 && sentAt > struckAt)?.sentAt ?? Infinity) - struckAt
  const measured = [
    `${declined.length} × 503: p99 ${percentile(declined, 99)} ms, longest ${seconds(slowest(declined))}`,
    `breaker open after ${seconds(openAt - struckAt)}, then median ${percentile(declinedAtOnce, 50)} ms, p99 ${percentile(declinedAtOnce, 99)} ms`,
    `/health and JWKS median ${percentile(probes, 50)} ms, p99 ${percentile(probes, 99)} ms`,
    `unready after ${seconds(unreadyMs)}`, `good again: ${seconds(backMs)}`
  ]
  return judged(measured.join('; '), {
    'who needs it gets 503 with Retry-After, nobody 401 or 500; /health and JWKS go on': wrongWhileAway(during(answers, 0)),
    '/health and JWKS are as quick as before': areProbesQuick(during(answers, world.begunAt, struckAt), meanwhile),
    'it was noticed': declined.length > 0 && declinedAtOnce.length > 0,
    'p99 of 503': percentile(declined, 99) <= p99Ms + percentile(probes, 99),
    'longest 503': slowest(declined) <= mostMs + percentile(probes, 99),
    'median of 503 when the breaker is open': percentile(declinedAtOnce, 50) <= Math.max(AT_ONCE_MS, 2 * percentile(probes, 50)),
    unready: unreadyMs <= UNREADY_MS && transitions(answers) === 2,
    'good again': backMs <= BACK_MS,
    'nothing acknowledged is lost': losses,
    'the process is alive': world.isAlive
  })
}

export const rows: Row[] = [
  {
    fault: 'PostgreSQL refuses connections',
    promise: '503 + Retry-After where it is needed, p99 ≤ 1 s, ≤ 20 ms once the breaker is open; never 401 or 500; /health and JWKS 200, and ≤ 50 ms more; good again ≤ 5 s',
    endure: away({ mode: 'refuse', p99Ms: 1000, mostMs: 3000 })
  },
  {
    fault: 'PostgreSQL is silent',
    promise: 'every answer ≤ 3 s, then as above',
    endure: away({ mode: 'swallow', p99Ms: 3000, mostMs: 3000 })
  }
]

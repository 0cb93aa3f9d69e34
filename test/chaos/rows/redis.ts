import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { during, failed, judged, needsDatabase, needsNothing, percentile, seconds, slowest } from '../judge.ts'
import { saidAt, startWorld, type World } from '../world.ts'
import type { Row } from '../row.ts'

const AWAY_MS = 3000
const OPEN_MS = 2000
const BACK_MS = 5000
const COST_MS = 50
const COST_OF_DEADLINES_MS = COST_MS + 300      // two commands of a request that are sent and not answered, before the breaker opens

type Act = (world: World) => Promise<unknown>

const without = (strike: Act, heal: Act, costMs: number): Row['endure'] => async (t) => {
  const world = await startWorld(t)
  const struckAt = performance.now()
  await strike(world)
  await delay(AWAY_MS)
  const healedAt = performance.now()
  await heal(world)
  const redisIs = (state: string) => ({ dependencies: { redis } }: any) => redis.breaker === state
  await eventually(() => saidAt(world, redisIs('closed'), healedAt) !== undefined, 2 * BACK_MS).catch(() => {})
  const { losses } = await world.recovery(healedAt)

  const { answers } = world.load
  const openMs = (saidAt(world, redisIs('open'), struckAt) ?? Infinity) - struckAt
  const closedMs = (saidAt(world, redisIs('closed'), healedAt) ?? Infinity) - healedAt
  const p99 = (from: number, to: number) => percentile(during(answers, from, to).filter(needsDatabase), 99)
  const probesMs = percentile(during(answers, struckAt, healedAt).filter(needsNothing), 99)
  const [normalMs, meanwhileMs] = [p99(world.begunAt, struckAt), p99(struckAt, healedAt)]
  return judged([
    `${failed(answers).length} errors in ${answers.length} answers`, `p99 ${normalMs} → ${meanwhileMs} ms, slowest ${seconds(slowest(during(answers, struckAt, healedAt)))}`,
    `breaker open after ${seconds(openMs)}`, `closed ${seconds(closedMs)} after the return`
  ].join('; '), {
    'no error': failed(answers),
    'what it costs': meanwhileMs <= normalMs + costMs + probesMs,
    'breaker open': openMs <= OPEN_MS,
    'breaker closed': closedMs <= BACK_MS,
    'nothing acknowledged is lost, no limit and no revocation forgotten': losses,
    'the process is alive': world.isAlive
  })
}

const promise = (costMs: number) => `no error, all routes go on and /ready is 200; p99 ≤ ${costMs} ms more; breaker open ≤ 2 s, closed again ≤ 5 s after the return`

const row = (fault: string, strike: Act, heal: Act, costMs = COST_MS): Row => ({ fault, promise: promise(costMs), endure: without(strike, heal, costMs) })

export const rows: Row[] = [
  row('Redis refuses connections', ({ redis }) => redis.set('refuse'), ({ redis }) => redis.set('pass')),
  row('Redis is silent', ({ redis }) => redis.set('swallow'), ({ redis }) => redis.set('pass'), COST_OF_DEADLINES_MS),
  row('Redis is killed, and comes back empty', ({ redisServer }) => redisServer.kill(), ({ redisServer }) => redisServer.restart(), COST_OF_DEADLINES_MS)
]

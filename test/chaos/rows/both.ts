import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { createClient, type Answer } from '../client.ts'
import { areProbesQuick, during, failed, isDeclined, isGood, judged, needsDatabase, needsNothing, percentile, seconds, wrongWhileAway } from '../judge.ts'
import { startService, startWorld } from '../world.ts'
import type { Row } from '../row.ts'
import type { Test } from 'tap'

const AWAY_MS = 5000
const CLOSED_MS = 2000      // a feed is trusted for 0.9 s, a profile for one
const BACK_MS = 5000
const POLL_MS = 50

export const rows: Row[] = [
  {
    fault: 'PostgreSQL and Redis refuse connections',
    promise: 'guarded routes 503, after 2 s without exception; never 401 or 500; /health and JWKS 200, and ≤ 50 ms more; good again ≤ 5 s',
    endure: withoutBoth
  },
  {
    fault: 'Neither is there when the process starts, for 5 s',
    promise: 'it lives and listens, /health 200, /ready 503; ready ≤ 5 s after PostgreSQL is there, with Redis ≤ 5 s after that is',
    endure: startedAlone
  }
]

async function withoutBoth (t: Test) {
  const world = await startWorld(t)
  const ways = [world.database, world.redis]
  const struckAt = performance.now()
  await Promise.all(ways.map((way) => way.set('refuse')))
  await delay(AWAY_MS)
  const healedAt = performance.now()
  await Promise.all(ways.map((way) => way.set('pass')))
  const { backMs, losses } = await world.recovery(healedAt)

  const { answers } = world.load
  const declined = during(answers, struckAt, healedAt).filter(isDeclined).filter(needsDatabase)
  const guarded = during(answers, struckAt + CLOSED_MS, healedAt - POLL_MS).filter(needsDatabase)
  const probes = during(answers, struckAt, healedAt).filter(needsNothing)
  return judged(`${declined.length} × 503, p99 ${percentile(declined, 99)} ms; ${failed(probes).length} errors in ${probes.length} of /health and JWKS, median ${percentile(probes, 50)} ms; good again: ${seconds(backMs)}`, {
    'good or 503 with Retry-After; /health and JWKS go on': wrongWhileAway(during(answers, 0)),
    '/health and JWKS are as quick as before': areProbesQuick(during(answers, world.begunAt, struckAt), probes),
    'nobody is let in unseen': guarded.filter(isGood),
    'it was noticed': guarded.length > 0,
    'good again': backMs <= BACK_MS,
    'nothing acknowledged is lost': losses,
    'the process is alive': world.isAlive
  })
}

async function startedAlone (t: Test) {
  const service = await startService(t, { first: 'refuse' })
  const client = createClient(service.address)
  t.teardown(client.close)
  const alone: Answer[] = []
  for (const end = performance.now() + AWAY_MS; performance.now() < end; await delay(POLL_MS)) {
    alone.push(await client.ask('GET /health'), await client.ask('GET /ready'), await client.ask('POST /auth/login', { payload: { email: 'nobody@example.com', password: 'whoever that is' } }))
  }
  const redisIs = async (status: string) => (await client.ask('GET /ready')).body.checks.redis.status === status
  const isReady = async () => (await client.ask('GET /ready')).status === 200
  await service.database.set('pass')
  const readyMs = await eventually(isReady, AWAY_MS * 2)
  const isDegraded = await redisIs('degraded')
  await service.redis.set('pass')
  const wholeMs = await eventually(() => redisIs('up'), AWAY_MS * 2)

  const wrong = alone.filter((answer) => answer.route === 'GET /health' ? !isGood(answer) : !isDeclined(answer))
  return judged(`${alone.length} answers meanwhile, ${wrong.length} of them wrong; ready after ${seconds(readyMs)}, with Redis after ${seconds(wholeMs)}`, {
    '/health 200, all else 503': wrong,
    ready: readyMs <= BACK_MS,
    'degraded until Redis is there': isDegraded,
    'with Redis': wholeMs <= BACK_MS,
    'the process is alive': service.isAlive
  })
}

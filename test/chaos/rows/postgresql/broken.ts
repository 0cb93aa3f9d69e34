import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { sql } from '../../../helper.ts'
import { during, isDeclined, judged, needsDatabase, seconds, slowest, transitions, wrongWhileAway } from '../../judge.ts'
import { startWorld, type World } from '../../world.ts'
import type { Row } from '../../row.ts'

// Checks come once a second, and three that fail make it unready: a little less than 2 s holds two of them, wherever they fall.
const AWAY_MS = 1900
const HERE_MS = 2100
const TURNS = 5
const ROUND_MS = 300
const ROUNDS = 15
const BACK_MS = 5000
const ANSWER_MS = 3500      // 3 s, and a bit for a machine that has other things to do

/**
 * Lets something happen again and again, which may come between a request and its answer, but not for long. That it has happened
 * shows in what it answers, or in requests that were declined.
 */
const recurring = (happen: (world: World) => Promise<number | void>, mostTransitions: number): Row['endure'] => async (t) => {
  const world = await startWorld(t)
  const struckAt = performance.now()
  const ended = await happen(world)
  const healedAt = performance.now()
  const { backMs, losses } = await world.recovery(healedAt)

  const { answers } = world.load
  const needy = during(answers, struckAt).filter(needsDatabase)
  const declined = needy.filter(isDeclined)
  return judged([
    ...ended === undefined ? [] : [`${ended} connections ended`],
    `${declined.length} of ${needy.length} answers were 503, the slowest answer took ${seconds(slowest(needy))}`, `/ready changed ${transitions(answers)} times`, `good again: ${seconds(backMs)}`
  ].join('; '), {
    'good or 503 with Retry-After; /health and JWKS go on': wrongWhileAway(during(answers, 0)),
    'it has happened': (ended ?? declined.length) > 0,
    'slowest answer': slowest(needy) <= ANSWER_MS,
    'changes of /ready': transitions(answers) <= mostTransitions,
    'good again': backMs <= BACK_MS,
    'nothing acknowledged is lost': losses,
    'the process is alive': world.isAlive
  })
}

async function comeAndGo ({ database }: World) {
  for (let turn = 0; turn < TURNS; turn++) {
    await database.set('refuse')
    await delay(AWAY_MS)
    await database.set('pass')
    if (turn < TURNS - 1) await delay(HERE_MS)
  }
}

// Most are idle at the time, so that it may be that nobody notices.
async function terminate () {
  let ended = 0
  for (let round = 0; round < ROUNDS; round++) {
    const backends = await sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'microts%'")
    ended += backends.length
    await delay(ROUND_MS)
  }
  return ended
}

async function forget ({ database }: World) {
  database.forget()
}

export const rows: Row[] = [
  {
    fault: 'PostgreSQL comes and goes every 2 s, for 20 s',
    promise: 'good or 503, never 401 or 500; ≤ 2 changes of /ready; good again ≤ 5 s',
    endure: recurring(comeAndGo, 2)
  },
  {
    fault: 'All connections terminated, 15 times',
    promise: 'good or 503, never 401 or 500; the process lives; good again ≤ 5 s',
    endure: recurring(terminate, 2)
  },
  {
    fault: 'All connections fall silent for ever, new ones are good',
    promise: 'good or 503 within 3 s, never 401 or 500; good again ≤ 5 s, and nothing after that meets a silent one',
    endure: recurring(forget, 2),
    isShort: true
  }
]

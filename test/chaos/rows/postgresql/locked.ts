import { request } from 'node:http'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../../eventually.ts'
import { bearer, sql } from '../../../helper.ts'
import { lock } from '../../../plugins/db/locks.ts'
import { during, failed, isDeclined, judged, needsDatabase, seconds, slowest, wrongWhileAway } from '../../judge.ts'
import { startWorld } from '../../world.ts'
import type { Row } from '../../row.ts'
import type { Test } from 'tap'

const LOCKED_MS = 10_000
const LOOK_MS = 200
const ANSWER_MS = 3000
const FREE_MS = 3000
const SPARE_MS = 500      // for a machine that has other things to do
const BACK_MS = 5000
const REQUESTS = 1000
const LEAVERS = 500
const ARRIVAL_MS = 4
const STAY_MS = 300
const OURS = "datname = current_database() and application_name like 'microts%' and state <> 'idle'"

export const rows: Row[] = [
  {
    fault: 'Somebody locks the tables for 10 s',
    promise: '503 ≤ 3 s; no statement of ours goes on for longer; afterwards good ≤ 5 s, 1000 requests without an error',
    endure: lockedOut
  },
  {
    fault: '500 clients leave while a table is locked',
    promise: 'all connections of ours are idle again ≤ 3 s, other routes good ≤ 5 s, though it is still locked',
    endure: left
  }
]

async function lockedOut (t: Test) {
  const world = await startWorld(t)
  const struckAt = performance.now()
  const unlock = await lock(t, 'lock table users, sessions')
  let longestMs = 0
  for (const end = struckAt + LOCKED_MS; performance.now() < end; await delay(LOOK_MS)) {
    const [row] = await sql<{ ms: number }>(`select coalesce(max(extract(epoch from clock_timestamp() - query_start)) * 1000, 0)::float8 as ms from pg_stat_activity where ${OURS}`)
    longestMs = Math.max(longestMs, row!.ms)
  }
  const healedAt = performance.now()
  await unlock()
  const { backMs, losses } = await world.recovery(healedAt)
  const burst = await world.load.burst(REQUESTS)

  const { answers } = world.load
  const needy = during(answers, struckAt, healedAt).filter(needsDatabase)
  const declined = needy.filter(isDeclined)
  return judged([
    `${declined.length} × 503, the longest after ${seconds(slowest(declined))}`, `longest statement ${seconds(longestMs)}`,
    `good again: ${seconds(backMs)}`, `then ${failed(burst).length} errors in ${burst.length}`
  ].join('; '), {
    'good or 503 with Retry-After; /health and JWKS go on': wrongWhileAway(during(answers, 0)),
    'it was noticed': declined.length > 0,
    'longest answer': slowest(needy.filter(({ sentAt }) => sentAt < healedAt - ANSWER_MS)) <= ANSWER_MS + SPARE_MS,
    'longest statement': longestMs <= FREE_MS,
    'good again': backMs <= BACK_MS,
    'no error in what follows': failed(burst),
    'nothing acknowledged is lost': losses,
    'the process is alive': world.isAlive
  })
}

async function left (t: Test) {
  const world = await startWorld(t)
  const { load, address } = world
  await load.stop()
  const unlock = await lock(t, 'lock table sessions')
  const leaving: Promise<unknown>[] = []
  let mostBusy = 0
  for (let i = 0; i < LEAVERS; i++) {
    leaving.push(comeAndLeave(address, load.residents[i % load.residents.length]!.accessToken))
    if (i % 50 === 49) mostBusy = Math.max(mostBusy, await busy())
    await delay(ARRIVAL_MS)
  }
  await Promise.all(leaving)
  const leftAt = performance.now()
  const freeMs = await eventually(async () => await busy() === 0)
  await eventually(async () => (await load.client.ask('PATCH /me', { accessToken: load.residents[0]!.accessToken, payload: { displayName: null } })).status === 200)
  const backMs = performance.now() - leftAt
  await unlock()
  await eventually(async () => (await load.client.ask('POST /auth/refresh', { payload: { refreshToken: load.residents[0]!.refreshToken } })).status === 200)
  const burst = await load.burst(REQUESTS / 4)

  return judged(`${mostBusy} connections were busy, all idle again after ${seconds(freeMs)}; other routes good after ${seconds(backMs)}; then ${failed(burst).length} errors in ${burst.length}`, {
    'they kept connections busy': mostBusy > 0,
    'idle again': freeMs <= FREE_MS,
    'other routes': backMs <= BACK_MS,
    'no error in what follows': failed(burst),
    'nothing acknowledged is lost': await load.losses(),
    'the process is alive': world.isAlive
  })
}

async function busy () {
  const [row] = await sql<{ count: number }>(`select count(*)::int from pg_stat_activity where ${OURS}`)
  return row!.count
}

async function comeAndLeave (address: string, accessToken: string) {
  const asking = request(`${address}/me/sessions`, { agent: false, headers: bearer(accessToken) })
  const closed = new Promise((resolve) => asking.on('error', () => {}).on('close', resolve))
  asking.end()
  await delay(Math.random() * STAY_MS)
  asking.destroy()
  await closed
}

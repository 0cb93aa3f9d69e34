import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../../eventually.ts'
import { createClient } from '../../client.ts'
import { during, failed, judged, percentile, seconds } from '../../judge.ts'
import { startService } from '../../world.ts'
import { createLogins, goodput } from './logins.ts'
import { register, watchMe, watchMemory } from './watch.ts'
import type { Row } from '../../row.ts'
import type { Test } from 'tap'

const DEFAULTS = { ARGON2_MEMORY: undefined, ARGON2_TIME: undefined, HASH_QUEUE_TIMEOUT: undefined, MAX_EVENT_LOOP_DELAY: undefined }
const USERS = 40
const TIMES = 10
const PEAK = { seconds: 4, rate: 0, connections: 4 * availableParallelism() }
const FLOOD = { seconds: 8, connections: 600 }
const FILLING_MS = 2000      // until the queue is full
const WINDOW_MS = 1000
const SHARE = 0.8      // of the peak: the flood, PostgreSQL and the service have the same cores
const LIMITS = { refusalMs: 100, meMs: 250, normalMs: 50, normalAgainMs: 10_000, grownMb: 150 }

export const rows: Row[] = [{
  fault: 'A flood of logins, 10 times what can be hashed',
  promise: 'excess 503 or 429 + Retry-After, median ≤ 100 ms; ≥ 80 % of the peak succeed, on cores shared with the flood; GET /me p99 ≤ 250 ms; normal ≤ 10 s after; ≤ 150 MB more',
  endure: flooded
}]

async function flooded (t: Test) {
  const service = await startService(t, { env: DEFAULTS })
  const client = createClient(service.address)
  t.teardown(client.close)
  await service.whole()
  const users = await Promise.all(Array.from({ length: USERS }, () => register(client)))
  const { accessToken } = await register(client)      // of somebody who takes no part in it: of too many sessions of one user the oldest ends
  const me = watchMe(t, client, accessToken)
  const memory = watchMemory(t, service)
  const logIn = createLogins(t, service.address, users)

  const calmAt = performance.now()
  await delay(WINDOW_MS)
  const before = await logIn(PEAK)
  const usedMb = memory.most()
  const struckAt = performance.now()
  const flood = await logIn({ ...FLOOD, rate: Math.round(TIMES * goodput(before)) }, FILLING_MS)
  const endedAt = performance.now()
  const grownMb = memory.most() - usedMb
  const normalMs = percentile(during(me.answers, calmAt, calmAt + WINDOW_MS), 90) + LIMITS.normalMs
  const lately = () => during(me.answers, performance.now() - WINDOW_MS)
  const normalAgainMs = await eventually(() => performance.now() > endedAt + WINDOW_MS && percentile(lately(), 90) <= normalMs, 3 * LIMITS.normalAgainMs)
  const after = await logIn(PEAK)
  me.stop()

  const peak = (goodput(before) + goodput(after)) / 2
  const share = goodput(flood) / peak
  const { replies } = flood
  const refused = replies.filter(({ status, retryAfter }) => (status === 503 || status === 429) && retryAfter)
  const meanwhile = during(me.answers, struckAt, endedAt)
  return judged([
    `${Math.round(replies.length / FLOOD.seconds)} logins/s at a peak of ${Math.round(peak)}`,
    `${refused.length} refused: median ${percentile(refused, 50)} ms, p99 ${percentile(refused, 99)} ms`,
    `${Math.round(share * 100)} % of the peak succeed`, `GET /me p99 ${percentile(meanwhile, 99)} ms`,
    `normal after ${seconds(normalAgainMs)}`, `${grownMb >= 0 ? '+' : ''}${grownMb} MB`
  ].join('; '), {
    'who is refused is told when to come again': replies.filter((reply) => reply.status !== 200 && !refused.includes(reply)),
    'it was a flood': refused.length > replies.length / 2,
    'median of refusals': percentile(refused, 50) <= LIMITS.refusalMs,
    'share of the peak': share >= SHARE,
    'GET /me goes on': failed(me.answers),
    'p99 of GET /me': percentile(meanwhile, 99) <= LIMITS.meMs,
    'normal again': normalAgainMs <= LIMITS.normalAgainMs,
    memory: !(grownMb > LIMITS.grownMb),
    'the process is alive': service.isAlive
  })
}

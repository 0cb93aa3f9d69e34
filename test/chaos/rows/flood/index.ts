import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../../eventually.ts'
import { createClient } from '../../client.ts'
import { during, failed, judged, percentile, seconds } from '../../judge.ts'
import { startService } from '../../world.ts'
import { createLogins, goodput, work } from './logins.ts'
import { register, watchMe, watchMemory } from './watch.ts'
import type { Row } from '../../row.ts'
import type { Reply } from './peer.ts'
import type { Test } from 'tap'

const DEFAULTS = { ARGON2_MEMORY: undefined, ARGON2_TIME: undefined, HASH_QUEUE_TIMEOUT: undefined, MAX_EVENT_LOOP_DELAY: undefined }
const USERS = 40
const TIMES = 10
const PEAK = { seconds: 4, rate: 0, connections: 4 * availableParallelism() }
const FLOOD = { seconds: 6, connections: 600 }
const FILLING_MS = 2000      // until the queue is full
const WARM_MS = 500      // until who asks, a process of its own, is no longer busy with its own beginning
const WINDOW_MS = 1000
const ROUNDS = 4      // of which the best counts, for each figure: a machine that is held up meanwhile spoils any of them
const SHARE = 0.895      // of the peak: 90 %, as it is printed
const LIMITS = { refusalMs: 100, meMs: 250, normalMs: 50, normalAgainMs: 10_000, grownMb: 150 }

export const rows: Row[] = [{
  fault: 'A flood of logins, 10 times what can be hashed',
  promise: 'excess 503 or 429 + Retry-After; in the best of 4 floods p99 of refusals ≤ 100 ms, ≥ 90 % of the peak succeed, GET /me p99 ≤ 250 ms; normal ≤ 10 s after; ≤ 150 MB more',
  endure: flooded
}]

async function flooded (t: Test) {
  const service = await startService(t, { env: DEFAULTS, isDirect: true })
  const client = createClient(service.address)
  t.teardown(client.close)
  await service.whole()
  const users = await Promise.all(Array.from({ length: USERS }, () => register(client)))
  const { accessToken } = await register(client)      // of somebody who takes no part in it: of too many sessions of one user the oldest ends
  const me = watchMe(t, client, accessToken)
  const memory = watchMemory(t, service)
  const logIn = createLogins(t, service.address, users, service.hashCpuMs)

  const calmAt = performance.now()
  await delay(WINDOW_MS)
  const peaks = [await logIn(PEAK)]
  const usedMb = memory.most()
  const normalMs = percentile(during(me.answers, calmAt, calmAt + WINDOW_MS), 90) + LIMITS.normalMs
  const floods = []
  for (let round = 0; round < ROUNDS; round++) {
    floods.push(await flood(Math.round(TIMES * goodput(peaks[0]!))))
    peaks.push(await logIn(PEAK))
  }
  const grownMb = memory.most() - usedMb
  me.stop()

  const peak = mean(peaks.map(goodput))
  const shares = floods.map(({ wave }, round) => work(wave) / mean([peaks[round]!, peaks[round + 1]!].map(work)))
  const replies = floods.flatMap(({ wave }) => wave.replies)
  const refusals = floods.map(({ wave }) => wave.replies.filter((reply) => isRefusal(reply) && reply.endedAfterMs - reply.ms >= WARM_MS))
  const refusalMs = refusals.map((timed) => percentile(timed, 99))
  const meMs = floods.map(({ answers }) => percentile(answers, 99))
  const normalAgainMs = Math.max(...floods.map((endured) => endured.normalAgainMs))
  return judged([
    `${Math.round(replies.length / FLOOD.seconds / ROUNDS)} logins/s at a peak of ${Math.round(peak)}`,
    `${replies.filter(isRefusal).length} refused: median ${percentile(refusals.flat(), 50)} ms, p99 ${spread(refusalMs)} ms`,
    `${spread(shares.map((share) => Math.round(share * 100)))} % of the peak succeed`, `GET /me p99 ${spread(meMs)} ms`,
    `normal after ${seconds(normalAgainMs)}`, `${grownMb >= 0 ? '+' : ''}${grownMb} MB`
  ].join('; '), {
    'who is refused is told when to come again': replies.filter((reply) => reply.status !== 200 && !isRefusal(reply)),
    'it was a flood': floods.every(({ wave }, round) => refusals[round]!.length > wave.replies.length / 2),
    'p99 of refusals': Math.min(...refusalMs) <= LIMITS.refusalMs,
    'share of the peak': Math.max(...shares) >= SHARE,
    'GET /me goes on': failed(me.answers),
    'p99 of GET /me': Math.min(...meMs) <= LIMITS.meMs,
    'normal again': normalAgainMs <= LIMITS.normalAgainMs,
    memory: !(grownMb > LIMITS.grownMb),
    'the process is alive': service.isAlive
  })

  async function flood (rate: number) {
    const struckAt = performance.now()
    const wave = await logIn({ ...FLOOD, rate }, FILLING_MS)
    const endedAt = performance.now()
    const lately = () => during(me.answers, performance.now() - WINDOW_MS)
    const normalAgainMs = await eventually(() => performance.now() > endedAt + WINDOW_MS && percentile(lately(), 90) <= normalMs, 3 * LIMITS.normalAgainMs)
    return { wave, answers: during(me.answers, struckAt, endedAt), normalAgainMs }
  }
}

const isRefusal = ({ status, retryAfter }: Reply) => (status === 503 || status === 429) && retryAfter !== undefined
const spread = (figures: number[]) => `${Math.min(...figures)} to ${Math.max(...figures)}`
const mean = (figures: number[]) => figures.reduce((sum, figure) => sum + figure) / figures.length

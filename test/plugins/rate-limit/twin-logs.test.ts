import { deepStrictEqual, ok } from 'node:assert'
import fc from 'fast-check'
import { test } from 'tap'
import { createSharedLog } from '../../../plugins/rate-limit/shared-log.ts'
import { SlidingLog, type Log } from '../../../plugins/rate-limit/sliding-log.ts'
import { build } from '../../helper.ts'
import { connected, startRedis } from '../../redis.ts'
import { fullest, limits, plan, steps, type Call, type Limit, type Verdict } from './model.ts'
import type { Decision } from '../../../plugins/rate-limit/slot-table.ts'

type Contestant = { log: Log, setClock: (us: number) => unknown }

const RUNS = 150

test('whatever is taken, looked at, given back and cleared, memory and Redis decide as the definition does, and no window holds more than its limit', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url, REDIS_COMMAND_TIMEOUT: '30000' })
  await connected(app)
  const local = new SlidingLog()
  const inRedis: Contestant = {
    log: createSharedLog(app.fastPath!, local, { time: "{ 0, redis.call('get', 'clock') }" }),
    setClock: (us) => app.fastPath!.run((redis) => redis.set('clock', us))
  }
  let runs = 0
  const held: number[] = []

  // A failure is told with its seed and path, and as few steps as show it.
  await fc.assert(fc.asyncProperty(limits, steps, async (limits, steps) => {
    const { calls, verdicts } = plan(limits, steps)
    runs++
    for (const contestant of [inMemory(), inMemory({ isPruned: true }), inRedis]) {
      const said = await replay(contestant, limits, calls, runs)
      deepStrictEqual(said, verdicts)
      for (const [key, limit] of limits.entries()) {
        held.push(fullest(calls, said, key, limit))
        ok(held.at(-1)! <= limit.max, `a window holds ${held.at(-1)} of ${limit.max}`)
      }
    }
  }), { numRuns: RUNS })

  t.ok(Math.max(...held) > 1)
  t.equal(local.size, 0, 'Redis has decided all the time')
})

function inMemory ({ isPruned = false } = {}): Contestant {
  let nowMs = 0
  const log = new SlidingLog(() => nowMs)
  return {
    log,
    setClock (us) {
      nowMs = us / 1000
      if (isPruned) log.prune()
    }
  }
}

/** What a log says to these calls, of which those that are alike and come at one time are made before any is answered. */
async function replay ({ log, setClock }: Contestant, limits: Limit[], calls: Call[], run: number): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  for (const together of alike(calls)) {
    await setClock(together[0]!.now)
    verdicts.push(...await Promise.all(together.map(async ({ act, key, id }) => {
      const slot = { dimension: 'address', value: `${run} ${key}`, id }
      const { windowMs, max } = limits[key]!
      return act === 'refund' || act === 'clear' ? log[act](slot) : verdictOf(await log[act](slot, windowMs, max))
    })))
  }
  return verdicts
}

function alike (calls: Call[]) {
  const groups: Call[][] = []
  for (const call of calls) {
    const last = groups.at(-1)
    if (last && last[0]!.act === call.act && last[0]!.now === call.now) last.push(call)
    else groups.push([call])
  }
  return groups
}

const verdictOf = ({ current, ttl }: Decision) => ({ current, ttlUs: Math.round(ttl * 1000) })

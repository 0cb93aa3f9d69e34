import fc from 'fast-check'
import { test } from 'tap'
import { createTraffic } from '../../plugins/traffic.ts'
import { build } from '../helper.ts'
import { buildWith } from '../build-with.ts'

const STEP_MS = 15_000
const STEPS = 60
const WITHIN = 0.045

function clock (startMs = 5_000_000) {
  let nowMs = startMs
  return { now: () => nowMs, pass: (ms: number) => { nowMs += ms } }
}

test('a step is told of when it is over', async (t) => {
  const { now, pass } = clock()
  const traffic = createTraffic(now)
  for (let i = 0; i < 30; i++) traffic.record(10, i < 3)
  pass(STEP_MS - 1)
  t.same(traffic.report().steps, Array(STEPS).fill(undefined))
  t.equal(traffic.report().lately, undefined)

  pass(1)
  const { steps, stepSeconds, lately } = traffic.report()
  t.equal(stepSeconds, STEP_MS / 1000)
  t.equal(steps.length, STEPS)
  t.same(steps.slice(0, -1), Array(STEPS - 1).fill(undefined), 'before that there was nobody to count')
  t.match(steps.at(-1), { perSecond: 2, failureShare: 0.1 })
  t.same(lately, steps.at(-1))
})

test('a step without a request has a rate and nothing else', async (t) => {
  const { now, pass } = clock()
  const traffic = createTraffic(now)
  traffic.record(1, true)
  pass(3 * STEP_MS)
  t.same(traffic.report().steps.slice(-2), [{ perSecond: 0 }, { perSecond: 0 }])
})

test('lately is the last minute', async (t) => {
  const { now, pass } = clock()
  const traffic = createTraffic(now)
  for (const [count, ms] of [[100, 5000], [10, 1], [20, 1], [30, 1], [60, 1]] as const) {
    for (let i = 0; i < count; i++) traffic.record(ms, i === 0)
    pass(STEP_MS)
  }
  const { lately } = traffic.report()
  t.match(lately, { perSecond: 2, failureShare: 4 / 120 })
  t.ok(lately!.p95Ms! < 2, 'the slow ones are longer ago')
})

test('what is older than a quarter of an hour is forgotten, however long nobody asks', async (t) => {
  for (const silentSteps of [STEPS, STEPS + 1, STEPS + 2, 2 * STEPS, 2 * STEPS + 1, 100_000]) {
    const { now, pass } = clock()
    const traffic = createTraffic(now)
    for (let i = 0; i < 100; i++) traffic.record(1, true)
    pass(silentSteps * STEP_MS)
    t.equal(traffic.report().steps.filter((step) => step!.perSecond > 0).length, silentSteps === STEPS ? 1 : 0, String(silentSteps))
    for (let i = 0; i < 15; i++) traffic.record(10, false)
    pass(STEP_MS)
    const last = traffic.report().steps.at(-1)!
    t.match(last, { perSecond: 1, failureShare: 0 })
    t.ok(last.medianMs! > 9, 'nor does its latency remain')
  }
})

test('what comes in each step is found there again', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(fc.nat(9), { maxLength: 3 * STEPS }), async (counts) => {
    const { now, pass } = clock()
    const traffic = createTraffic(now)
    for (const count of counts) {
      for (let i = 0; i < count; i++) traffic.record(10, false)
      pass(STEP_MS)
    }
    const seen = traffic.report().steps.filter((step) => step !== undefined).map(({ perSecond }) => Math.round(perSecond * STEP_MS / 1000))
    return t.same(seen, counts.slice(-STEPS))
  }), { numRuns: 50 })
})

test('quantiles are within 4.5 % of the true ones', async (t) => {
  const durations = fc.array(fc.double({ min: 0.1, max: 13_000, noNaN: true }), { minLength: 1, maxLength: 200 })
  await t.resolves(fc.assert(fc.asyncProperty(durations, async (list) => {
    const { now, pass } = clock()
    const traffic = createTraffic(now)
    for (const ms of list) traffic.record(ms, false)
    pass(STEP_MS)
    const { medianMs, p95Ms } = traffic.report().lately!
    const sorted = list.toSorted((a, b) => a - b)
    const isNear = (found: number, share: number) => Math.abs(found / sorted[Math.ceil(share * sorted.length) - 1]! - 1) < WITHIN
    return isNear(medianMs!, 0.5) && isNear(p95Ms!, 0.95)
  })))
})

test('what took no time or for ever is counted at the ends of the scale', async (t) => {
  const { now, pass } = clock()
  const traffic = createTraffic(now)
  for (const ms of [0, 1e9]) traffic.record(ms, false)
  pass(STEP_MS)
  const { medianMs, p95Ms } = traffic.report().lately!
  t.ok(medianMs! > 0.1 && medianMs! < 0.11, String(medianMs))
  t.ok(p95Ms! > 12_000 && p95Ms! < 13_200, String(p95Ms))
})

test('requests are counted, those of probes and of the status page are not', async (t) => {
  const app = await build(t)
  const seen: boolean[] = []
  t.intercept(app.traffic, 'record', { value: (ms: number, isFailure: boolean) => seen.push(isFailure && ms >= 0) })
  for (const url of ['/health', '/ready', '/status', '/status?x', '/metrics'].filter((url) => app.urls.has(url.replace('?x', '')))) await app.inject(url)
  t.same(seen, [])
  for (const url of ['/api', '/me', '/nothing', '/docs/json']) await app.inject(url)
  t.same(seen, [false, false, false, false])
})

test('a failure is a 5xx', async (t) => {
  const app = await buildWith(t, (app) => {
    app.get('/fails', async () => { throw new Error('boom') })
  })
  const seen: boolean[] = []
  t.intercept(app.traffic, 'record', { value: (ms: number, isFailure: boolean) => seen.push(isFailure) })
  await app.inject('/fails')
  await app.inject('/me')
  t.same(seen, [true, false])
})

import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { test, type Test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { alert, notify } from '../alertmanager.ts'
import { eventually } from '../eventually.ts'
import { build, PASSWORD, post, settings } from '../helper.ts'
import { createLog } from '../log.ts'
import { isProblem } from '../problem.ts'
import type { FastifyInstance } from 'fastify'

const BUSY_MS = 150
// What held up the start refuses nobody for so long.
const SETTLING_MS = 1000

test('while the event loop cannot keep up, requests are refused before anything is done for them; probes go on, and it ends by itself', async (t) => {
  const log = createLog()
  const app = await build(t, { MAX_EVENT_LOOP_DELAY: '50', RATE_LIMIT_MAX: '1', RATE_LIMIT_REGISTER_MAX: '1', LOG_LEVEL: 'info' }, { stream: log })
  const settledAt = performance.now() + SETTLING_MS
  const blocker = setInterval(block, 1, BUSY_MS)
  t.teardown(() => clearInterval(blocker))
  await eventually(() => performance.now() > settledAt && app.isUnderPressure() && Number.isFinite(app.memoryUsage().eventLoopDelay))

  await refusesAllButProbesAndOperators(t, app)
  clearInterval(blocker)
  await eventually(() => !app.isUnderPressure())
  t.match(await app.inject('/api'), { statusCode: 200 }, 'what was refused counts for no limit')
  const declined = log.lines.filter(({ requestId, statusCode }) => requestId && statusCode === 503)
  t.equal(declined.length, 4)
  for (const line of declined) t.match(line, { level: 40, msg: 'request declined', reason: 'the process is under pressure: eventLoopDelay' })
})

test('after one long pause, which is over, nobody is refused', async (t) => {
  const app = await build(t)
  // The first lasts until a sample is due, the second begins with it and lasts until the next one.
  setTimeout(block, 1, 600)
  setTimeout(block, 550, 600)
  await eventually(() => app.memoryUsage().eventLoopDelay === Infinity)
  t.match(await app.inject('/api'), { statusCode: 200 })
  t.equal(app.memoryUsage().eventLoopDelay, Infinity)
})

test('what held up the start refuses nobody after it', async (t) => {
  const app = await buildApp(loadConfig({ ...settings, MAX_EVENT_LOOP_DELAY: '50' }))
  t.teardown(() => app.close())
  app.addHook('onReady', async () => { for (let i = 0; i < 4; i++) await nextTurn().then(() => block(BUSY_MS)) })
  await app.ready()
  await eventually(() => app.isUnderPressure() && Number.isFinite(app.memoryUsage().eventLoopDelay))
  t.match(await app.inject('/api'), { statusCode: 200 })
  t.ok(app.isUnderPressure())
})

test('while there is hardly any heap left, requests are refused too', async (t) => {
  const limit = getHeapStatistics().heap_size_limit
  const { memoryUsage } = process
  let heapUsed = limit * 0.89
  t.intercept(process, 'memoryUsage', { value: () => ({ ...memoryUsage(), heapUsed }) })
  const app = await build(t)
  await eventually(() => app.memoryUsage().heapUsed === heapUsed)
  t.match(await app.inject('/api'), { statusCode: 200 })
  heapUsed = limit * 0.91
  await eventually(() => app.isUnderPressure())
  await refusesAllButProbesAndOperators(t, app)
  heapUsed = limit / 2
  await eventually(() => !app.isUnderPressure())
  t.match(await app.inject('/api'), { statusCode: 200 })
})

function block (ms: number) {
  const busyUntil = performance.now() + ms
  while (performance.now() < busyUntil);
}

async function refusesAllButProbesAndOperators (t: Test, app: FastifyInstance) {
  const answers = [await app.inject('/api'), await app.inject('/docs'), await app.inject('/me'), await post(app, '/auth/register', { email: 'ada@example.com', password: PASSWORD })]
  for (const answer of answers) {
    isProblem(t, answer, 503, 'SERVICE_UNAVAILABLE')
    t.match(answer.headers, { 'retry-after': '1', ratelimit: undefined })
  }
  t.match(await app.inject({ method: 'OPTIONS', url: '/me' }), { statusCode: 204 }, 'a browser asks before it is told')
  for (const url of ['/health', '/ready', '/metrics', '/alerts/history']) t.match(await app.inject(url), { statusCode: 200 }, url)
  t.match(await notify(app, [alert()]), { statusCode: 200 })
}

import { hostname } from 'node:os'
import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { createBreaker } from '../../plugins/breaker.ts'
import { createWebhook, isOutage } from '../../plugins/alerts/webhook.ts'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, PASSWORD, post } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import { SECRET_PATH, startReceiver } from '../receiver.ts'
import type { Test } from 'tap'

test('an outage is told to the webhook, and its end', async (t) => {
  const receiver = await startReceiver(t)
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ALERT_WEBHOOK_URL: receiver.url, DATABASE_URL: proxy.url, OTEL_SERVICE_NAME: 'identity' })
  t.hasStrict((await app.inject('/status')).json().dependencies.webhook, { status: 'up', breaker: 'closed' })
  await proxy.set('refuse')
  await eventually(async () => {
    await post(app, '/auth/login', { email: 'ada@example.com', password: PASSWORD })
    return app.breakers.stateOf('database') === 'open' && !app.health.isReady()
  })
  await eventually(() => receiver.texts.some((text) => text.includes('not ready')))
  await proxy.set('pass')
  await eventually(() => receiver.texts.length === 4)

  t.same([...receiver.texts].sort(), [
    'not ready: database is down',
    'ready again',
    'the breaker of database is closed again',
    'the breaker of database has opened'
  ].map((text, i) => `[${['critical', 'resolved', 'resolved', 'warning'][i]}] identity on ${hostname()}: ${text}`))
})

test('nothing is told of the start, nor without a webhook', async (t) => {
  const receiver = await startReceiver(t)
  const app = await build(t, { ALERT_WEBHOOK_URL: receiver.url })
  await app.health.checkNow()
  t.same(receiver.texts, [])
  const { alerts } = await build(t)
  alerts.raise({ severity: 'warning', summary: 'nobody hears' })
})

test('what the receiver does not take is sent again, in order and once', async (t) => {
  const answers = [500, 302, 429]
  const receiver = await startReceiver(t, (request, response) => response.writeHead(answers.shift() ?? 200, { location: '/elsewhere' }).end())
  const { webhook, results } = start(t, receiver.url)
  for (const text of ['one', 'two', 'three']) webhook.send(text)
  await eventually(() => receiver.texts.length === 6)
  t.same(receiver.texts, ['one', 'one', 'one', 'one', 'two', 'three'])
  await eventually(() => results.length === 3)
  t.same(results, ['delivered', 'delivered', 'delivered'])
})

test('what the receiver will never take is not sent again, and holds up nothing; what comes too soon waits for as long as it says', async (t) => {
  const asked: number[] = []
  const receiver = await startReceiver(t, (request, response) => {
    asked.push(performance.now())
    const [status, headers] = receiver.texts.at(-1) === 'never' ? [400, {}] : asked.length === 2 ? [429, { 'retry-after': '1' }] : [200, {}]
    response.writeHead(status, headers).end()
  })
  const { webhook, results, breaker } = start(t, receiver.url, 1)
  for (const text of ['never', 'soon']) webhook.send(text)
  await eventually(() => results.length === 2)
  t.same(results, ['failed', 'delivered'])
  t.same(receiver.texts, ['never', 'soon', 'soon'])
  t.ok(asked[2]! - asked[1]! >= 990)
  t.equal(breaker.state, 'closed', 'it is there')
})

test('a receiver that is away costs nobody anything: the breaker opens, what waits is bounded, and all is given up at the end', async (t) => {
  const receiver = await startReceiver(t, (request) => request.socket.resetAndDestroy())
  const { webhook, breaker, warnings, results } = start(t, receiver.url, 4)
  for (let i = 0; i < 101; i++) webhook.send(`alert ${i}`)
  t.match(warnings, [{ text: 'alert 100' }], 'the last one was too much')
  await eventually(() => breaker.state === 'open')
  t.equal(receiver.texts.length, 4, 'and no more is tried')
  await eventually(() => warnings.length > 1)
  t.match(warnings[1], { text: 'alert 0' })
  t.same(results.slice(0, 2), ['dropped', 'failed'])
  t.notMatch(JSON.stringify(warnings), SECRET_PATH)
})

test('a receiver that is silent is not waited for, and the end not held up by it', async (t) => {
  const asked = Promise.withResolvers<void>()
  const receiver = await startReceiver(t, () => asked.resolve())
  const app = await build(t, { ALERT_WEBHOOK_URL: receiver.url })
  for (const summary of ['heard by nobody', 'and not even asked']) app.alerts.raise({ severity: 'critical', summary })
  await asked.promise
  t.equal((await app.inject('/status')).statusCode, 200)
  const closingAt = performance.now()
  await app.close()
  t.ok(performance.now() - closingAt < 2500)
})

test('what waits is tried once more at the end, and what is not delivered by then is told of', async (t) => {
  const held = Promise.withResolvers<void>()
  const receiver = await startReceiver(t, async (request, response) => {
    if (receiver.texts.length === 1) await held.promise
    response.writeHead(receiver.texts.at(-1) === 'not taken' ? 500 : 200).end()
  })
  const { webhook, results, warnings } = start(t, receiver.url)
  for (const text of ['asked', 'not taken', 'waits']) webhook.send(text)
  await eventually(() => receiver.texts.length === 1)
  const closed = webhook.close()
  held.resolve()
  await closed
  t.same(receiver.texts, ['asked', 'not taken', 'waits'])
  t.same(results, ['delivered', 'failed', 'delivered'])
  t.match(warnings, [{ text: 'not taken', err: { message: 'the webhook answered 500' } }])
})

test('what is lost while the process ends is told to nobody', async (t) => {
  const receiver = await startReceiver(t)
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ALERT_WEBHOOK_URL: receiver.url, DATABASE_URL: proxy.url })
  app.health.drain()
  await proxy.set('refuse')
  await eventually(() => app.health.report().database!.status === 'down')
  app.alerts.raise({ severity: 'warning', summary: 'the last' })
  await eventually(() => receiver.texts.some((text) => text.includes('the last')))
  t.same(receiver.texts.filter((text) => text.includes('ready')), [])
})

test('the status tells of a webhook that is away', async (t) => {
  const receiver = await startReceiver(t, (request, response) => response.writeHead(500).end())
  const app = await build(t, { ALERT_WEBHOOK_URL: receiver.url })
  app.alerts.raise({ severity: 'warning', summary: 'anything' })
  await eventually(() => app.breakers.stateOf('webhook') === 'open', 30_000)
  t.hasStrict((await app.inject('/status')).json().dependencies.webhook, { status: 'degraded', breaker: 'open' })
})

test('who forwards to itself refuses it, and that is the end', async (t) => {
  const app = await build(t)
  const { webhook, results } = start(t, `${await app.listen({ port: 0 })}/alerts/webhook`)
  webhook.send('to myself')
  await eventually(() => results.length === 1)
  t.same(results, ['failed'])
  t.match((await app.metrics.expose()).text, /^http_requests_total\{method="POST",route="\/alerts\/webhook",status="400"\} 1$/m)
  t.equal((await app.inject('/alerts/history')).json().stats.total, 0)
})

function start (t: Test, url: string, volume = 20) {
  const warnings: object[] = []
  const results: string[] = []
  const breaker = createBreaker('webhook', { volume, isFailure: isOutage })
  const webhook = createWebhook({ url, breaker, log: { warn: (line: object) => { warnings.push(line) } }, onResult: (result) => results.push(result), pauseMs: () => 1 })
  t.teardown(async () => {
    await webhook.close()
    breaker.shutdown()
  })
  return { webhook, breaker, warnings, results }
}

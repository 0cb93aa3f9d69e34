import { performance } from 'node:perf_hooks'
import { setImmediate } from 'node:timers/promises'
import { test, t as file } from 'tap'
import { build as buildApp } from '../../app.ts'
import { receivedOf } from '../../plugins/alerts/received.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { alert, notify } from '../alertmanager.ts'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, HURRIED, settings, sql } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { startProxy } from '../proxy.ts'
import { startReceiver } from '../receiver.ts'
import { lock, waitFor } from './db/locks.ts'
import type { FastifyInstance } from 'fastify'

const ENDED = '2026-11-22T12:30:00Z'
const statusOf = async (app: FastifyInstance) => (await app.inject('/status')).json().alerts

file.beforeEach(() => sql('truncate alerts'))

test('what one replica was told, the others know some seconds later, and a new one from its start', async (t) => {
  const [app, other] = [await build(t), await build(t)]
  const told = alert({}, { alertname: 'HighErrorRate' })
  await notify(app, [told, alert({ status: 'resolved' })])
  t.same(await statusOf(app), { total: 2, firing: 1, resolved: 1 }, 'who was told knows at once')
  t.comment(`known after ${await eventually(() => other.alertStore.overview.counts.total === 2)} ms`)
  t.same(other.alertStore.overview, app.alertStore.overview)
  t.same(other.alertStore.overview.firing, [{ name: 'HighErrorRate', severity: 'critical', since: new Date('2026-11-22T12:00:00.123Z') }])
  const newcomer = await build(t)
  t.ok(await eventually(() => newcomer.alertStore.overview.counts.firing === 1) < 2000)

  await notify(other, [{ ...told, status: 'resolved', endsAt: ENDED }])
  await app.alertStore.refresh()
  t.match(app.alertStore.overview, { counts: { resolved: 2 }, firing: [] })
  t.equal(app.alertStore.overview.firing.length, 0)
})

test('a service that is closed before all has been up counts no alerts', async (t) => {
  const app = await buildApp(loadConfig(settings))
  let isClosed = false
  app.health.add('late', async () => { if (!isClosed) throw new Error('not up yet') })
  await app.ready()
  await eventually(() => Object.entries(app.health.report()).every(([name, { status }]) => status === 'up' || name === 'late'))
  await app.close()
  isClosed = true

  const asked: string[] = []
  app.db.check = async (text) => {
    asked.push(text)
    return []
  }
  await app.health.checkNow()
  await app.health.risen
  await setImmediate()
  t.same(asked.filter((text) => text.includes('from alerts')), [])
})

test('of what fires the twenty that were told of last are shown', async (t) => {
  const app = await build(t)
  const names = Array.from({ length: 25 }, (_, i) => `A${i}`)
  for (const name of names) await app.alertStore.save(receivedOf([alert({}, { alertname: name })]))
  t.same(app.alertStore.overview.firing.map(({ name }) => name), names.slice(-20).reverse())
})

test('many who store alerts at once cause two counts, and all that they stored is in the second', async (t) => {
  const app = await build(t)
  const [firstIsRead, { check }] = [Promise.withResolvers<void>(), app.db]
  t.teardown(() => { app.db.check = check })
  let counts = 0
  app.db.check = async (text) => {
    const isFirst = text.includes('count(*)') && ++counts === 1
    const rows = await check(text)
    if (isFirst) await firstIsRead.promise
    return rows as never
  }
  const first = app.alertStore.refresh()
  await eventually(() => counts === 1)
  const saved = Promise.all(Array.from({ length: 20 }, () => app.alertStore.save(receivedOf([alert()]))))
  await eventually(async () => (await sql('select from alerts')).length === 20)
  t.equal(app.alertStore.overview.counts.total, 0)
  firstIsRead.resolve()
  await Promise.all([first, saved])
  t.equal(app.alertStore.overview.counts.total, 20)
  t.equal(counts, 2)
})

test('replicas that are told the same at once, in different orders, all store it, and wait for each other in one direction', async (t) => {
  const patience = { DB_QUERY_TIMEOUT: '20000' }
  const apps = [await build(t, patience), await build(t, patience)]
  const alerts = [alert(), alert()]
  const known = (await notify(apps[0]!, alerts)).json().alerts
  const locks = []
  for (const { id } of known) locks.push(await lock(t, 'select from alerts where id = $1 for update', [id]))
  const telling = [notify(apps[0]!, alerts), notify(apps[1]!, alerts.toReversed())]
  for (const held of locks) {
    await waitFor(2)
    await held.commit()
  }
  const [one, other] = await Promise.all(telling)
  t.same(one!.json(), { processed: 2, alerts: known })
  t.same(other!.json(), { processed: 2, alerts: known.toReversed() })
  t.same(await sql('select deadlocks::int from pg_stat_database where datname = current_database()'), [{ deadlocks: 0 }])
})

for (const mode of ['refuse', 'swallow'] as const) {
  test(`while PostgreSQL ${mode === 'refuse' ? 'refuses' : 'is silent'}, alerts are forwarded once and answered with 503 until they are stored`, async (t) => {
    const receiver = await startReceiver(t)
    const proxy = await startProxy(t, databaseUrl)
    const app = await build(t, { ...HURRIED, DATABASE_URL: proxy.url, ALERT_WEBHOOK_URL: receiver.url })
    await notify(app, [alert()])
    await eventually(() => receiver.texts.length === 1)
    await proxy.set(mode)

    const down = alert({ annotations: { summary: 'PostgreSQL is away' } }, { alertname: 'DatabaseDown' })
    const startedAt = performance.now()
    const answer = notify(app, [down])
    await eventually(() => receiver.texts.includes('[critical] DatabaseDown: PostgreSQL is away'))
    isProblem(t, await answer, 503, 'SERVICE_UNAVAILABLE')
    t.match((await answer).headers['retry-after'], /^\d+$/)
    t.ok(performance.now() - startedAt < 3000)
    for (let i = 0; i < 3; i++) t.equal((await notify(app, [down])).statusCode, 503)
    isProblem(t, await app.inject('/alerts/history'), 503, 'SERVICE_UNAVAILABLE')
    t.same(await statusOf(app), { total: 1, firing: 1, resolved: 0 }, 'what was known is still known')

    await proxy.set('pass')
    await eventually(async () => (await notify(app, [down])).statusCode === 200)
    t.same(await statusOf(app), { total: 2, firing: 2, resolved: 0 })
    t.equal(receiver.texts.filter((text) => text.includes('DatabaseDown')).length, 1)
  })
}

test('what is stored is answered with 200, though it cannot be counted', async (t) => {
  const app = await build(t)
  const { check } = app.db
  t.teardown(() => { app.db.check = check })
  app.db.check = async () => { throw new Error('no') }
  t.equal((await notify(app, [alert()])).statusCode, 200)
  app.db.check = check
  await eventually(() => app.alertStore.overview.counts.total === 1)
})

test('a webhook that does not answer holds up nobody', async (t) => {
  const free = Promise.withResolvers<void>()
  const receiver = await startReceiver(t, async (request, response) => {
    await free.promise
    response.end()
  })
  const app = await build(t, { ALERT_WEBHOOK_URL: receiver.url })
  for (let i = 0; i < 3; i++) t.equal((await notify(app, [alert()])).statusCode, 200)
  t.equal((await statusOf(app)).firing, 3)
  for (let i = 0; i < 117; i++) app.alerts.raise({ severity: 'warning', summary: String(i) })
  t.match((await app.inject('/metrics')).body, /^microts_alerts_forwarded_total\{result="dropped"\} 20$/m)
  free.resolve()
  await eventually(() => receiver.texts.at(-1)?.endsWith('96') === true)
})

test('what is said to be over and goes on fires again, unless it is only told of late', async (t) => {
  const app = await build(t)
  const told = alert()
  const tell = async (change: object) => {
    await notify(app, [{ ...told, ...change }])
    const [{ status, endsAt }] = (await app.inject('/alerts/history')).json().alerts
    return [status, endsAt]
  }
  const over = ['resolved', '2026-11-22T12:30:00.000Z']
  t.same(await tell({}), ['firing', null])
  t.same(await tell({ status: 'resolved', endsAt: ENDED }), over)
  await sql("update alerts set received_at = now() - interval '30 seconds'")
  t.same(await tell({}), over)
  await sql("update alerts set received_at = received_at - interval '16 seconds'")
  t.same(await tell({}), ['firing', null])
  await sql("update alerts set received_at = now() - interval '4 hours'")
  t.same(await tell({}), ['firing', null])
  t.same(await tell({ status: 'resolved', endsAt: ENDED }), over)
})

test('what nobody has told of for more than a day is not said to fire', async (t) => {
  const app = await build(t)
  await notify(app, [alert({}, { alertname: 'silenced' }), alert({}, { alertname: 'slow' })])
  await sql("update alerts set received_at = now() - case name when 'silenced' then interval '25 hours 1 minute' else interval '24 hours 59 minutes' end")
  await app.alertStore.refresh()
  t.same(app.alertStore.overview, { counts: { total: 2, firing: 1, resolved: 0 }, firing: [{ name: 'slow', severity: 'critical', since: new Date('2026-11-22T12:00:00.123Z') }] })
})

test('an alert of three days stays, one that was not told of for a month goes', async (t) => {
  const app = await build(t)
  await notify(app, [alert({}, { alertname: 'old' }), alert({}, { alertname: 'young' }), alert({}, { alertname: 'new' })])
  await sql("update alerts set received_at = now() - case name when 'old' then interval '30 days 1 minute' else interval '29 days 23 hours' end where name <> 'new'")
  t.same((await app.inject('/alerts/history')).json().alerts.map(({ name }: { name: string }) => name), ['new', 'young'], 'it is not shown')
  await eventually(async () => {
    await app.purge.round()
    return (await sql('select from alerts')).length === 2
  })
})

test('the latest 10 000 alerts stay', async (t) => {
  const app = await build(t)
  await sql(`
    insert into alerts (id, fingerprint, name, status, severity, labels, starts_at, received_at)
    select gen_random_uuid(), i, i, 'firing', 'none', '{}', now(), now() - i * interval '1 minute' from generate_series(1, 10500) i`)
  await eventually(async () => {
    await app.purge.round()
    return (await sql('select from alerts')).length <= 10_000
  })
  t.match(await sql('select count(*)::int as count, max(name::int) as oldest from alerts'), [{ count: 10_000, oldest: 10_000 }])
  await app.purge.round()
  t.equal((await sql('select from alerts')).length, 10_000)
})

import { randomBytes } from 'node:crypto'
import { test, t as file } from 'tap'
import { alert, notification, notify, STARTED } from '../alertmanager.ts'
import { bearer, build, post, sql } from '../helper.ts'
import { createLog } from '../log.ts'
import { isProblem } from '../problem.ts'
import type { FastifyInstance, InjectOptions } from 'fastify'

// Far from UTC, and by a part of a minute before there were time zones.
process.env.TZ = 'America/New_York'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const ENDED = '2026-11-22T12:30:00Z'
const RECENT = /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const OPS_TOKEN = randomBytes(48).toString('base64url')
const WEBHOOK = 'http://127.0.0.1:9/services/canary'
const NO_ALERTS = { total: 0, firing: 0, resolved: 0 }

const history = async (app: FastifyInstance, query = '') => (await app.inject(`/alerts/history${query}`)).json()
const statusOf = async (app: FastifyInstance) => (await app.inject('/status')).json().alerts

file.beforeEach(() => sql('truncate alerts'))

test('what Alertmanager tells is answered, kept, and shown', async (t) => {
  const app = await build(t)
  t.same(await history(app), { stats: { ...NO_ALERTS, bySeverity: { critical: 0, warning: 0, info: 0, other: 0 } }, alerts: [] })
  const told = alert({}, { alertname: 'HighErrorRate' })
  const answer = await notify(app, [told, alert({}, { alertname: 'Slow', severity: 'warning' }), alert({ labels: {} })])

  t.equal(answer.statusCode, 200)
  const { processed, alerts: [first, ...others] } = answer.json()
  t.equal(processed, 3)
  t.match(first, { id: UUID_V7, name: 'HighErrorRate', status: 'firing', severity: 'critical' })
  t.match(others, [{ name: 'Slow', severity: 'warning' }, { name: 'unnamed', severity: 'none' }])
  const { stats, alerts } = await history(app)
  t.same(stats, { total: 3, firing: 3, resolved: 0, bySeverity: { critical: 1, warning: 1, info: 0, other: 1 } })
  t.match(alerts.find(({ id }: { id: string }) => id === first.id), {
    ...first, fingerprint: told.fingerprint, labels: told.labels, ...told.annotations, startsAt: '2026-11-22T12:00:00.123Z', endsAt: null, receivedAt: RECENT
  })
  t.same(await statusOf(app), { total: 3, firing: 3, resolved: 0 })
})

test('an alert that is told of again is the same one, and its end its end', async (t) => {
  const app = await build(t)
  const told = alert()
  const tell = async (more = {}) => (await notify(app, [{ ...told, ...more }])).json().alerts[0]
  const first = await tell()
  const [{ receivedAt }] = (await history(app)).alerts
  t.same(await tell({ annotations: { summary: 'All fail' } }), first)
  const again = (await history(app)).alerts
  t.match(again, [{ id: first.id, summary: 'All fail', description: null, endsAt: null }])
  t.ok(again[0].receivedAt > receivedAt)

  t.same(await tell({ status: 'resolved', endsAt: ENDED }), { ...first, status: 'resolved' })
  t.same(await tell(), { ...first, status: 'resolved' }, 'what is told late does not bring it back')
  t.match(await history(app), { stats: { total: 1, firing: 0, resolved: 1 }, alerts: [{ status: 'resolved', endsAt: '2026-11-22T12:30:00.000Z' }] })
  t.not((await tell({ startsAt: ENDED })).id, first.id, 'another start is another alert')
  t.same(await statusOf(app), { total: 2, firing: 1, resolved: 1 })
})

test('one notification may name an alert twice', async (t) => {
  const app = await build(t)
  const told = alert()
  const { processed, alerts } = (await notify(app, [told, { ...told, status: 'resolved', endsAt: ENDED }, told])).json()
  t.match({ processed, alerts }, { processed: 1, alerts: [{ status: 'resolved' }] })
  t.equal((await history(app)).stats.total, 1)
  t.same((await notify(app, [])).json(), { processed: 0, alerts: [] })
})

test('the history is the latest alerts, newest first, as many as are wanted', async (t) => {
  const app = await build(t)
  const names = Array.from({ length: 120 }, (_, i) => `A${i}`)
  for (const name of names) await notify(app, [alert({}, { alertname: name })])
  const latest = (count: number) => names.slice(-count).reverse()
  const namesOf = async (query: string) => (await history(app, query)).alerts.map(({ name }: { name: string }) => name)
  for (const [query, count] of [['', 50], ['?limit=1', 1], ['?limit=9', 9], ['?limit=10', 10], ['?limit=100', 100]] as const) t.same(await namesOf(query), latest(count), query)
  t.equal((await history(app, '?limit=1')).stats.total, 120, 'all are counted')
  for (const limit of ['0', '101', '1000', '-1', '1.5', '1e1', '0x10', ' 5', '+5', '05', '', 'x', '5&limit=6', '5&x=1']) {
    isProblem(t, await app.inject(`/alerts/history?limit=${encodeURIComponent(limit).replaceAll('%26', '&').replaceAll('%3D', '=')}`), 400, 'VALIDATION_ERROR', limit)
  }
})

test('what is no notification is refused, and nothing of it kept', async (t) => {
  const app = await build(t)
  const wrong: [body: object, pointer: string][] = [
    [{}, '/version'],
    [{ text: 'a message for Slack' }, '/alerts'],
    [{ ...notification(alert()), version: '3' }, '/version'],
    [{ ...notification(), alerts: undefined }, '/alerts'],
    [{ ...notification(), alerts: Array.from({ length: 1001 }, () => alert()) }, '/alerts'],
    [{ ...notification(), alerts: {} }, '/alerts'],
    ...([
      ['status', 'pending'], ['status', undefined], ['labels', undefined], ['labels', []], ['labels', { a: 1 }], ['labels', { a: 'x'.repeat(4097) }], ['labels', { a: '\0' }], ['labels', { 'a\0': '' }],
      ['labels', { 'a\ud800': '' }], ['labels', { ['x'.repeat(201)]: '' }], ['labels', Object.fromEntries(Array.from({ length: 65 }, (_, i) => [i, '']))], ['annotations', { a: 'x'.repeat(65_537) }], ['annotations', { summary: '\ud800' }],
      ['startsAt', undefined], ['startsAt', 1], ['startsAt', ''], ['startsAt', '2026-11-22'], ['startsAt', '2026-02-30T00:00:00Z'], ['startsAt', '2026-11-22T23:59:60Z'], ['startsAt', '2026-11-22 12:00:00Z'],
      ['startsAt', '0000-01-01T00:00:00Z'], ['startsAt', '9999-12-31T23:59:59Z'], ['endsAt', 'never'], ['endsAt', null], ['fingerprint', ''], ['fingerprint', 'x'.repeat(129)], ['fingerprint', '\0']
    ] as const).map(([name, value]): [object, string] => [notification(alert(), { ...alert(), [name]: value }), `/alerts/1/${name}`])
  ]
  for (const [body, pointer] of wrong) {
    const { errors } = isProblem(t, await post(app, '/alerts/webhook', body), 400, 'VALIDATION_ERROR', pointer)
    t.ok(errors.some((fault: { pointer: string }) => fault.pointer.startsWith(pointer)), `${pointer} in ${JSON.stringify(errors)}`)
  }
  t.equal((await history(app)).stats.total, 0)
})

test('what a later Alertmanager may add, and what only it needs, is no reason to lose an alert', async (t) => {
  const app = await build(t)
  const { status, labels, startsAt } = alert()
  const bodies = [
    { version: '4', alerts: [{ status, labels, startsAt }] },
    { ...notification({ ...alert(), silencedBy: ['x'], note: '\0' }), notificationReason: { is: 'new' } },
    { ...notification({ ...alert(), startsAt: '0001-01-01T00:00:00+14:00' }, { ...alert(), startsAt: '2026-11-22T12:00:00-23:59' }), truncatedAlerts: 7 }
  ]
  for (const body of bodies) t.equal((await post(app, '/alerts/webhook', body)).statusCode, 200, JSON.stringify(body))
  t.equal((await history(app)).stats.total, 4)
})

test('a group of a thousand alerts is taken, up to a megabyte, which no other route takes', async (t) => {
  const app = await build(t)
  t.equal((await notify(app, Array.from({ length: 1000 }, () => alert()))).json().processed, 1000)
  t.equal((await statusOf(app)).firing, 1000)
  const sized = (bytes: number): InjectOptions => ({ method: 'POST', payload: JSON.stringify(notification()).padEnd(bytes), headers: { 'content-type': 'application/json' } })
  t.equal((await app.inject({ ...sized(1_048_576), url: '/alerts/webhook' })).statusCode, 200)
  isProblem(t, await app.inject({ ...sized(1_048_577), url: '/alerts/webhook' }), 413, 'PAYLOAD_TOO_LARGE')
  isProblem(t, await app.inject({ ...sized(10_241), url: '/auth/login' }), 413, 'PAYLOAD_TOO_LARGE')
})

test('only operators tell and read, before anything is read of what they send', async (t) => {
  const app = await build(t, { OPS_TOKEN })
  const requests: InjectOptions[] = [{ method: 'POST', url: '/alerts/webhook', payload: notification(alert()) }, { method: 'POST', url: '/alerts/webhook', payload: 'x'.repeat(2_000_000) }, { url: '/alerts/history' }]
  for (const request of requests) {
    for (const headers of [{}, bearer(OPS_TOKEN.slice(1)), bearer(`${OPS_TOKEN}x`), { authorization: `Basic ${OPS_TOKEN}` }]) isProblem(t, await app.inject({ ...request, headers }), 401, 'UNAUTHORIZED')
  }
  t.equal((await notify(app, [alert()], bearer(OPS_TOKEN))).statusCode, 200)
  t.equal((await app.inject({ url: '/alerts/history', headers: bearer(OPS_TOKEN) })).json().stats.total, 1)
})

test('an alert is one line of the log, as loud as it is severe, and a retry is none', async (t) => {
  const log = createLog()
  const app = await build(t, { LOG_LEVEL: 'info', OPS_TOKEN, ALERT_WEBHOOK_URL: WEBHOOK }, { stream: log })
  const hostile = 'a"}\n{"level":60,"msg":"forged"}\u2028\u001b[2J'
  const alerts = [
    ...['critical', 'warning', 'info', 'page', hostile].map((severity) => alert({}, { severity, password: 'canary-label', authorization: 'canary-label' })),
    alert({ status: 'resolved', endsAt: ENDED }), alert({ annotations: { summary: hostile } }, { alertname: hostile })
  ]
  for (let i = 0; i < 2; i++) t.equal((await notify(app, alerts, bearer(OPS_TOKEN))).statusCode, 200)

  const lines = log.lines.filter(({ msg }) => msg.startsWith('alert '))
  t.same(lines.map(({ level }) => level), [50, 40, 30, 30, 30, 30, 50])
  t.match(lines, [
    { msg: 'alert firing', requestId: UUID_V7, alert: { name: alerts[0]!.labels.alertname, severity: 'critical', summary: 'One request in ten fails', fingerprint: alerts[0]!.fingerprint, startsAt: '2026-11-22T12:00:00.123Z' } },
    {}, {}, {}, {}, { msg: 'alert resolved' }, { alert: { name: 'a"} {"level":60,"msg":"forged"} [2J' } }
  ])
  for (const text of log.written) t.match(text, /^[^\p{Cc}\u2028]*\n$/u)
  const found = [OPS_TOKEN, 'canary'].filter((secret) => log.written.join().includes(secret))
  t.same(found, [], 'neither a token, nor the address of the webhook, nor any other label')
})

test('alerts are counted by severity and status, in a bounded number of series', async (t) => {
  const app = await build(t)
  const counted = async () => Object.fromEntries([...(await app.inject('/metrics')).body.matchAll(/^microts_alerts_received_total\{severity="(\w+)",status="(\w+)"\} (\d+)$/gm)]
    .map(([, severity, status, count]) => [`${severity} ${status}`, Number(count)]))
  const none = await counted()
  t.same(Object.values(none), Array(8).fill(0))
  const told = alert()
  await notify(app, [told, ...Array.from({ length: 100 }, (_, i) => alert({}, { severity: `s${i}` })), alert({ status: 'resolved' }, { severity: 'warning' })])
  await notify(app, [told])
  t.same(await counted(), { ...none, 'critical firing': 2, 'other firing': 100, 'warning resolved': 1 })
})

test('the start of an alert is known to the millisecond, and its own', async (t) => {
  const app = await build(t)
  const told = alert()
  for (const startsAt of [STARTED, '2026-11-22T12:00:00.1239Z', '2026-11-22T13:00:00.123+01:00', '2026-11-22T12:00:00.124Z']) await notify(app, [{ ...told, startsAt }])
  t.equal((await history(app)).stats.total, 2)
})

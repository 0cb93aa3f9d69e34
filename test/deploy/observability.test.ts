import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import { build, logIn, PASSWORD, post, signUp } from '../helper.ts'
import { kidOf, makeKey, setOf } from '../plugins/auth/forge.ts'
import { startRedis } from '../redis.ts'
import { groupingsIn, matchersIn, metricsIn, samplesIn } from './promql.ts'
import type { Samples } from './promql.ts'

type Rule = { record?: string, alert: string, expr: string, labels: Record<string, string>, annotations: Record<string, string> }
type Unit = { promql_expr_test?: { expr: string, exp_samples: { labels: string }[] }[] }
type Place = { x: number, y: number, w: number, h: number }
type Thresholds = { steps: { color: string, value: number | null }[] }
type Panel = {
  id: number
  type: string
  title: string
  description: string
  gridPos: Place
  targets: { expr: string }[]
  fieldConfig: { defaults: { unit: string, thresholds: Thresholds }, overrides: { matcher: { options: string }, properties: { id: string, value: Thresholds }[] }[] }
}

const root = join(import.meta.dirname, '../..')
const deploy = join(root, 'deploy')
const read = (file: string) => readFileSync(join(deploy, file), 'utf8')
const files = (pattern: string) => globSync(pattern, { cwd: deploy })

const rules = files('prometheus/rules/*.yml').flatMap((file) => parse(read(file)).groups.flatMap(({ rules }: { rules: Rule[] }) => rules)) as Rule[]
const alerts = rules.filter(({ alert }) => alert)
const names = new Set(alerts.map(({ alert }) => alert))
const units = files('prometheus/tests/*.yml').flatMap((file) => parse(read(file)).tests) as Unit[]
const dashboard = JSON.parse(read('grafana/dashboard.json'))
const panels = (dashboard.panels as Panel[]).filter(({ type }) => type !== 'row')
const prometheus = parse(read('prometheus/prometheus.yml'))
const alertmanager = parse(read('alertmanager/alertmanager.yml'))
const playbook = read('PLAYBOOK.md')
const anchors = new Set(Array.from(playbook.matchAll(/^#+ (.+)$/gm), ([, heading]) => heading!.toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-')))

/** What others than microts export, and what Prometheus knows by itself. */
const OTHERS = new Map([
  ['up', []],
  ['ALERTS', ['alertname', 'alertstate', 'severity', 'objective', 'breaker']],
  ['probe_ssl_earliest_cert_expiry', []],
  ['probe_success', []]
])
const OF_PROMETHEUS = ['job', 'instance']

const NOWHERE = 'http://127.0.0.1:9'
const CALLS_TO_OPEN = 20      // a breaker

test('every query of the rules and the dashboard reads what a running service exports', async (t) => {
  const redis = await startRedis(t)
  const key = { ...makeKey(), nbf: 1 }
  const app = await build(t, { REDIS_URL: redis.url, ALERT_WEBHOOK_URL: NOWHERE, JWT_KEYS: setOf(key), RATE_LIMIT_REGISTER_MAX: '1' })
  const { email, headers } = await signUp(app)
  t.equal((await post(app, '/auth/logout', {}, headers)).statusCode, 204)
  t.equal((await app.inject({ method: 'DELETE', url: '/me', payload: { password: PASSWORD }, headers: (await logIn(app, email)).headers })).statusCode, 204)
  t.equal((await post(app, '/auth/register', { email: 'late@example.com', password: PASSWORD })).statusCode, 429)
  await redis.kill()
  await Promise.allSettled(Array.from({ length: CALLS_TO_OPEN }, () => app.fastPath!.run((redis) => redis.get('any'))))
  const samples = samplesIn((await app.inject('/metrics')).body)
  t.same(samples.get('microts_signing_key_since_timestamp_seconds')?.get('kid'), new Set([kidOf(key)]))

  const known: Samples = new Map([...samples, ...recorded(), ...[...OTHERS].map(([name, labels]) => [name, withLabels(labels)] as const)])
  const routes = [...Object.keys((await app.openapi()).paths!), '/docs']
  const queries = [...rules, ...panels.flatMap(({ targets }) => targets), ...dashboard.annotations.list].map(({ expr }) => expr)
  t.same(queries.flatMap((expr) => [...faultsOf(expr, known, routes)]), [])
})

function * faultsOf (expr: string, known: Samples, routes: string[]) {
  const metrics = metricsIn(expr)
  if (metrics.length === 0 && !expr.startsWith('vector(')) yield `no metric in ${expr}`
  for (const metric of metrics) if (!known.has(metric)) yield `${metric} is not exported`

  const labels = new Set([...OF_PROMETHEUS, ...metrics.flatMap((metric) => [...known.get(metric)?.keys() ?? []])])
  for (const label of groupingsIn(expr)) if (!labels.has(label)) yield `${label} is no label in ${expr}`

  for (const { metric, label, operator, value } of matchersIn(expr)) {
    if (OF_PROMETHEUS.includes(label)) continue
    const values = known.get(metric)?.get(label)
    if (!values) yield `${metric} has no ${label}`
    else if (label === 'route') yield * value.split('|').filter((part) => !routes.some((route) => new RegExp(`^(?:${part})$`).test(route))).map((part) => `${part} is no route`)
    else if (operator === '=' && values.size && !values.has(value)) yield `${metric} has no ${label} ${value}`
  }
}

/** What the rules record has the labels that they give it, and those of its job. */
function recorded (): Samples {
  const samples: Samples = new Map()
  for (const { record } of rules) if (record) samples.set(record, withLabels(['objective']))
  return samples
}

const withLabels = (labels: string[]) => new Map(labels.map((label) => [label, new Set<string>()]))

test('what an alert counts is told as 0 before it has happened, so that its first time is a rise', async (t) => {
  const app = await build(t, { ALERT_WEBHOOK_URL: NOWHERE })
  const samples = samplesIn((await app.inject('/metrics')).body)
  t.ok(samples.get('microts_session_events_total')?.get('event')?.has('reuse_detected'))
  t.ok(samples.has('microts_hashes_declined_total'))
  t.same(samples.get('microts_alerts_forwarded_total')?.get('result'), new Set(['delivered', 'failed', 'dropped']))
  t.same(samples.get('microts_ready_transitions_total')?.get('to'), new Set(['ready', 'unready']))
  t.same(samples.get('microts_breaker_transitions_total')?.get('breaker'), new Set(['database', 'webhook']))
  t.same(samples.get('microts_breaker_transitions_total')?.get('to'), new Set(['closed', 'open', 'half-open']))
})

test('every alert says how bad it is, what it is, and where to read on', (t) => {
  for (const { alert, labels, annotations } of alerts) {
    t.match(labels.severity, /^(critical|warning)$/, alert)
    t.match(annotations, { summary: /^[A-Z].*[^.]$/, description: /^\S.*\.$/, runbook_url: `{{ $externalLabels.repository }}/deploy/PLAYBOOK.md#${alert.toLowerCase()}` }, alert)
    t.ok(anchors.has(alert.toLowerCase()), `the playbook has a page for ${alert}`)
  }
  const pages = Array.from(playbook.matchAll(/^#+ (Microts\w+)$/gm), ([, heading]) => heading!)
  t.same(new Set(pages), names, 'and no page is left over')
  t.equal(pages.length, names.size)
  t.match(prometheus.global.external_labels.repository, /^https:/)
  t.end()
})

test('the playbook looks for lines that are logged, and at panels that are there', (t) => {
  const source = globSync('{plugins/**/*.ts,server.ts}', { cwd: root }).map((file) => readFileSync(join(root, file), 'utf8')).join()
  const lines = Array.from(playbook.matchAll(/\.msg == "([^"]+)"/g), ([, line]) => line!)
  t.same(lines.filter((line) => !source.includes(`'${line}'`)), [])
  const titles = Array.from(playbook.slice(playbook.indexOf('## Watch it')).matchAll(/(?<!\*)\*([^*\n]+)\*(?!\*)/g), ([, title]) => title!)
  t.same(titles.filter((title) => !panels.some((panel) => panel.title.startsWith(title))), [])
  t.ok(lines.length > 0 && titles.length > 0)
  t.end()
})

test('a unit test shows of every alert that it fires, and that it does not', (t) => {
  for (const { alert, labels } of alerts) {
    const fires = ({ exp_samples: samples }: { exp_samples: { labels: string }[] }) =>
      samples.some(({ labels: text }) => text.includes(`alertname="${alert}"`) && text.includes(`severity="${labels.severity}"`))
    const [firing, silent] = [true, false].map((wanted) => units.some((unit) => {
      const looks = unit.promql_expr_test!.filter(({ expr }) => expr.includes('ALERTS'))
      return looks.some((look) => fires(look)) && looks.some((look) => fires(look) === wanted)
    }))
    t.ok(firing, `${alert} ${labels.severity} fires`)
    t.ok(silent, `${alert} ${labels.severity} does not fire before, or after`)
  }
  t.end()
})

test('Alertmanager knows the alerts by their names, and posts to a route of ours', async (t) => {
  const text = read('alertmanager/alertmanager.yml')
  for (const name of text.match(/Microts\w+/g)!) t.ok(names.has(name), name)
  const [{ webhook_configs: [webhook] }] = alertmanager.receivers
  const app = await build(t)
  t.ok(app.hasRoute({ method: 'POST', url: new URL(webhook.url).pathname }))
})

test('every panel of the dashboard has a unit and a description, a place of its own, and links that lead somewhere', (t) => {
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  for (const { title, description, fieldConfig } of panels) t.match([description, fieldConfig.defaults.unit], [/^\S.*\.$/, /^\w+$/], title)
  const covering = panels.filter((panel) => panels.some((other) => other !== panel && overlap(panel.gridPos, other.gridPos)))
  t.same(covering.map(({ title }) => title), [])
  const text = JSON.stringify(dashboard)
  t.same(Array.from(text.matchAll(/PLAYBOOK\.md#([\w-]+)/g), ([, anchor]) => anchor!).filter((anchor) => !anchors.has(anchor)), [])
  const variables = new Set([...dashboard.templating.list.map(({ name }: { name: string }) => name), '__rate_interval', '__range', '__all'])
  t.same(Array.from(text.matchAll(/\$\{?(\w+)/g), ([, name]) => name).filter((name) => !variables.has(name)), [])
  t.end()
})

test('each objective is green on the dashboard when it is kept, and red when not', (t) => {
  const { defaults, overrides } = panels.find(({ title }) => title === 'Kept')!.fieldConfig
  const budgets = rules.filter(({ record }) => record === 'microts:objective:budget')
  for (const { labels: { objective }, expr } of budgets) {
    const override = overrides.find(({ matcher }) => new RegExp(matcher.options.slice(1, -1)).test(objective!))
    const { steps } = override?.properties.find(({ id }) => id === 'thresholds')?.value ?? defaults.thresholds
    t.same(steps, [{ color: 'red', value: null }, { color: 'green', value: 1 - Number(/[\d.]+/.exec(expr)![0]) }], objective!)
  }
  t.ok(budgets.length > 0)
  t.end()
})

function overlap (one: Place, two: Place) {
  return one.x < two.x + two.w && two.x < one.x + one.w && one.y < two.y + two.h && two.y < one.y + one.h
}

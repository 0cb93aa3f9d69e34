import { randomUUID } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { bearer, databaseUrl, PASSWORD, settings } from '../helper.ts'
import { ready, start } from '../processes.ts'
import { startProxy } from '../proxy.ts'
import { startRedis } from '../redis.ts'
import { bringMonitoring, freeAddress, install, startAlertmanager, startPrometheus, startReceiver, tool } from './monitoring.ts'
import type { Test } from 'tap'

const OPS_TOKEN = 'a token of operators that is long enough'
const WITHIN_MS = 40_000
const OBJECTIVES = 3
const deploy = join(import.meta.dirname, '../../deploy')
const dashboard = JSON.parse(readFileSync(join(deploy, 'grafana/dashboard.json'), 'utf8'))

/** Panels of what has not happened here, or is somebody else's. */
const SILENT = ['Firing', 'Reached from outside', '5xx by route', 'Age of the signing key', 'The certificate is good for']

type Alert = { name: string, status: string }
type Answer = { data: { result: object[] }, error?: string }
type Panel = { title: string, targets?: { expr: string }[] }

const programs = await bringMonitoring()

test('promtool and amtool find nothing wrong with the files of deploy/', async (t) => {
  const { promtool, amtool } = programs
  const rules = globSync('prometheus/rules/*.yml', { cwd: deploy })
  const units = globSync('prometheus/tests/*.yml', { cwd: deploy })
  t.equal(rules.length, units.length, 'each file of rules has its tests')
  t.match(await tool(promtool, ['check', 'config', '--syntax-only', 'prometheus/prometheus.yml']), 'SUCCESS')
  t.notMatch(await tool(promtool, ['check', 'rules', '--lint-fatal', ...rules]), 'FAILED')
  t.notMatch(await tool(promtool, ['test', 'rules', ...units]), 'FAILED')
  t.match(await tool(amtool, ['check-config', 'alertmanager/alertmanager.yml']), 'SUCCESS')
})

test('what calls somebody, and what the service cannot tell of itself, goes to people directly too', async (t) => {
  const receivers = async (...labels: string[]) =>
    (await tool(programs.amtool, ['config', 'routes', 'test', '--config.file=alertmanager/alertmanager.yml', ...labels])).trim()
  t.equal(await receivers('alertname=MicrotsDown', 'severity=critical'), 'microts,people')
  t.equal(await receivers('alertname=MicrotsAlertsNotForwarded', 'severity=warning'), 'people')
  t.equal(await receivers('alertname=MicrotsRedisDown', 'severity=warning'), 'microts')
})

test('what breaks is told, and that it is whole again', async (t) => {
  const world = await begin(t)

  t.equal(await tool(programs.promtool, ['check', 'metrics'], await world.metrics()), '')
  await eventually(async () => {
    await world.visit()
    return (await world.query('job:microts_burn:5m')).length === OBJECTIVES
  }, WITHIN_MS)
  t.same(await world.silentPanels(), SILENT)

  // Redis is missed by nobody: a ticket, in the history of the service.
  await world.redis.set('refuse')
  await eventually(() => world.isTold('MicrotsRedisDown', 'firing'), WITHIN_MS)
  await world.redis.set('pass')
  await eventually(() => world.isTold('MicrotsRedisDown', 'resolved'), WITHIN_MS)

  // Without PostgreSQL there is no history: people hear of it from the service, and from Alertmanager too.
  await world.database.set('refuse')
  const isDown = (posts: string[]) => posts.some((post) => post.includes('MicrotsDatabaseDown'))
  await eventually(() => isDown(world.forwarded) && isDown(world.people), WITHIN_MS)
  await world.database.set('pass')
  await eventually(() => world.isTold('MicrotsDatabaseDown', 'resolved'), WITHIN_MS)
  await eventually(() => world.people.some((post) => post.includes('[resolved] MicrotsDatabaseDown')), WITHIN_MS)

  t.match(JSON.parse(world.people[0]!), { attachments: [{ title: '[firing] MicrotsDatabaseDown', title_link: /^https:.*\/deploy\/PLAYBOOK\.md#microtsdatabasedown$/ }] })
  t.same(new Set(await world.told()), new Set(['MicrotsRedisDown', 'MicrotsDatabaseDown']), 'what follows from them is not told')
})

/** A service that depends on what a test can take away, watched as in deploy/. */
async function begin (t: Test) {
  const [chat, pager, redisServer] = [await startReceiver(t), await startReceiver(t), await startRedis(t)]
  const [redis, database] = [await startProxy(t, redisServer.url), await startProxy(t, databaseUrl)]
  const server = start(t, 'server.ts', [], {
    ...settings, PORT: '0', LOG_LEVEL: 'info', OPS_TOKEN, REDIS_URL: redis.url, DATABASE_URL: database.url, ALERT_WEBHOOK_URL: chat.url
  })
  const microts = await ready(server)
  const alertmanager = await freeAddress()
  const folder = await install({ microts, alertmanager, opsToken: OPS_TOKEN, people: pager.url })
  await startAlertmanager(t, programs.alertmanager, folder, alertmanager)
  const prometheus = await startPrometheus(t, programs.prometheus, folder)

  const ask = (path: string) => fetch(`${microts}${path}`, { headers: bearer(OPS_TOKEN) })
  const query = async (expr: string): Promise<object[]> => {
    const response = await fetch(`http://${prometheus}/api/v1/query?${new URLSearchParams({ query: expr })}`)
    const { data, error } = await response.json() as Answer
    if (error) throw new Error(`${error}: ${expr}`)
    return data.result
  }
  const history = async (): Promise<Alert[]> => {
    const response = await ask('/alerts/history?limit=100')
    return response.ok ? (await response.json() as { alerts: Alert[] }).alerts : []
  }
  return {
    redis,
    database,
    query,
    forwarded: chat.posted,
    people: pager.posted,

    /** Somebody signs up, looks around, and signs out. */
    async visit () {
      const response = await fetch(`${microts}/auth/register`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ email: `${randomUUID()}@example.com`, password: PASSWORD })
      })
      const { accessToken } = await response.json() as { accessToken: string }
      const headers = bearer(accessToken)
      await fetch(`${microts}/me`, { headers })
      await fetch(`${microts}/auth/logout`, { method: 'POST', headers })
      await fetch(`${microts}/me`, { headers })
    },

    metrics: async () => (await ask('/metrics')).text(),
    told: async () => (await history()).map(({ name }) => name),
    isTold: async (name: string, status: string) => (await history()).some((alert) => alert.name === name && alert.status === status),

    /** The panels whose queries Prometheus takes, and finds nothing for. */
    async silentPanels () {
      const silent = new Set<string>()
      for (const { title, targets = [] } of dashboard.panels as Panel[]) {
        for (const { expr } of targets) if ((await query(filledIn(expr))).length === 0) silent.add(title)
      }
      return [...silent]
    }
  }
}

const filledIn = (expr: string) => expr.replaceAll('$job', 'microts').replaceAll('$instance', '.*').replaceAll('$__rate_interval', '10s').replaceAll('$__range', '5m')

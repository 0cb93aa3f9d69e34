import { test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, settings, sql } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import type { Test } from 'tap'

const UP = { status: 'up' }
const DOWN = { status: 'down' }

test('who drains is not ready, whatever its dependencies say', async (t) => {
  const app = await build(t)
  t.equal((await app.inject('/ready')).headers.connection, 'keep-alive')
  app.health.drain()

  const response = await app.inject('/ready')
  t.equal(response.statusCode, 503)
  t.match(response.json(), { ready: false, checks: { database: UP, migrations: UP } })
  for (const url of ['/ready', '/health', '/me', '/nothing']) t.equal((await app.inject(url)).headers.connection, 'close', url)
})

test('before the first contact it is alive but not ready, and says so in a document of its own', async (t) => {
  const proxy = await startProxy(t, databaseUrl, 'refuse')
  const app = await boot(t, proxy.url)
  t.equal((await app.inject('/health')).statusCode, 200)
  const response = await app.inject('/ready')
  t.equal(response.statusCode, 503)
  t.equal(response.headers['retry-after'], '1')
  t.match(response.headers['content-type'], /^application\/json/)
  const { timestamp, ...rest } = response.json()
  t.same(rest, { ready: false, checks: { database: DOWN, redis: { status: 'disabled' }, migrations: DOWN } })
  t.match(timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)

  await proxy.set('pass')
  const tookMs = await eventually(app.health.isReady, 5000)
  t.comment(`ready ${tookMs} ms after the database came`)
  t.equal((await app.inject('/ready')).statusCode, 200)
})

test('a database that goes makes it unready and its return ready, while it stays alive', async (t) => {
  const lines: string[] = []
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { DATABASE_URL: proxy.url, LOG_LEVEL: 'error' }, { stream: { write: (line) => lines.push(line) } })
  await proxy.set('refuse')
  const fellMs = await eventually(async () => (await app.inject('/ready')).statusCode === 503)
  t.ok(fellMs > 1500 && fellMs < 6000, `unready after ${fellMs} ms`)
  const health = await app.inject('/health')
  t.equal(health.statusCode, 200)
  t.match(health.json(), { status: 'ok', environment: 'test' })
  t.match(lines.join(''), /"check":"database".*"msg":"check is down"/)

  await proxy.set('pass')
  const roseMs = await eventually(app.health.isReady, 5000)
  t.comment(`ready ${roseMs} ms after the return`)
})

test('a read-only standby is not ready', async (t) => {
  const app = await build(t)
  await sql('create function public.pg_is_in_recovery() returns boolean language sql as $$ select true $$')
  const database = new URL(databaseUrl).pathname.slice(1)
  await sql(`alter database ${database} set search_path = public, pg_catalog`)
  t.teardown(() => sql(`drop function public.pg_is_in_recovery(); alter database ${database} reset search_path`))
  await sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'microts%'")

  await eventually(async () => (await app.inject('/ready')).statusCode === 503)
})

test('probes need no token, are not limited, and name no host', async (t) => {
  const app = await build(t, { RATE_LIMIT_MAX: '1' })
  const { hostname, port, password, username, pathname } = new URL(settings.DATABASE_URL!)
  for (const url of ['/health', '/ready', '/health', '/ready']) {
    const response = await app.inject(url)
    t.equal(response.statusCode, 200, url)
    for (const secret of [hostname, port, password, `${username}:`, pathname.slice(1)]) t.notMatch(response.body, secret)
  }
})

async function boot (t: Test, url: string) {
  const app = await buildApp(loadConfig({ ...settings, DATABASE_URL: url }))
  t.teardown(() => app.close())
  await app.ready()
  return app
}

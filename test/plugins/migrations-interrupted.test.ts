import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import pg from 'pg'
import { test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { migrate } from '../../plugins/migrations.ts'
import { eventually } from '../eventually.ts'
import { databaseUrl, emptyDatabase, settings, sql } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import type { Test } from 'tap'

const LOCK = 7241865325823964n      // the library's
const BLOCKED = "select pid from pg_stat_activity where datname = current_database() and application_name = 'microts migrate' and wait_event_type = 'Lock'"
const log = { debug: () => {}, warn: () => {} }
const names = readdirSync(join(import.meta.dirname, '../../migrations')).map((file) => file.replace(/\.\w+$/, '')).sort()

test('migrating is tried again until the database is there', async (t) => {
  await emptyDatabase()
  const proxy = await startProxy(t, databaseUrl, 'refuse')
  const lines: string[] = []
  const app = await boot(t, { DATABASE_URL: proxy.url, LOG_LEVEL: 'warn' }, { write: (line) => lines.push(line) })
  await eventually(() => lines.filter((line) => line.includes('migrating failed, it will be tried again')).length > 1)
  await proxy.set('pass')

  t.comment(`ready ${await eventually(app.health.isReady, 5000)} ms after the database came`)
})

test('a lock of another process is waited for', async (t) => {
  await emptyDatabase()
  const other = await connect(t)
  await other.query(`select pg_advisory_lock(${LOCK})`)
  const app = await bootWaiting(t)
  t.same(await sql('select from pg_tables where schemaname = current_schema()'), [])
  await other.query(`select pg_advisory_unlock(${LOCK})`)

  await app.health.risen
  t.same(await sql('select name from pgmigrations order by id'), names.map((name) => ({ name })))
})

test('closing ends the wait for the lock, and for a silent server, at once', async (t) => {
  await emptyDatabase()
  const other = await connect(t)
  await other.query(`select pg_advisory_lock(${LOCK})`)
  const waiting = await bootWaiting(t)
  const proxy = await startProxy(t, databaseUrl, 'swallow')
  const connecting = await boot(t, { DATABASE_URL: proxy.url })
  await eventually(() => proxy.connections > 0)

  for (const app of [waiting, connecting]) {
    const startedAt = performance.now()
    await app.close()
    const tookMs = Math.round(performance.now() - startedAt)
    t.ok(tookMs < 2500, `closed in ${tookMs} ms`)      // connecting alone would take 5 s
  }
})

test('who is told to stop before there is a connection makes none', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const stop = new AbortController()
  const migrating = migrate({ databaseUrl: proxy.url, direction: 'up', log, signal: stop.signal })
  stop.abort()
  await t.rejects(migrating, { name: 'AbortError' })
  t.equal(proxy.connections, 0)
})

test('who has waited for the lock too long says so', async (t) => {
  const other = await connect(t)
  await other.query(`select pg_advisory_lock(${LOCK})`)
  await t.rejects(migrate({ databaseUrl, direction: 'up', log }, performance.now()), { message: /another migration is already running/i })
})

test('closing during a migration leaves no lock and nothing half done', async (t) => {
  await emptyDatabase()
  await blockMigration(t)
  const app = await boot(t)
  await migrationIsBlocked()
  const startedAt = performance.now()
  await app.close()
  const tookMs = Math.round(performance.now() - startedAt)

  t.ok(tookMs < 1000, `closed in ${tookMs} ms`)
  const freeMs = await eventually(async () => (await sql("select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")).length === 0, 1500)
  t.comment(`the lock was free after ${freeMs} ms`)
  t.same(await sql('select name from pgmigrations'), [])
})

test('a table that others use for too long is tried again', async (t) => {
  await emptyDatabase()
  const other = await blockMigration(t)
  const migrating = migrate({ databaseUrl, direction: 'up', log })
  await migrationIsBlocked()
  await eventually(async () => (await sql(BLOCKED)).length === 0)      // given up after lock_timeout
  await other.query('rollback')

  t.same(await migrating, names)
})

test('a migration whose connection is killed is logged and tried again', async (t) => {
  await emptyDatabase()
  const other = await blockMigration(t)
  const lines: string[] = []
  const app = await boot(t, { LOG_LEVEL: 'warn' }, { write: (line) => lines.push(line) })
  await migrationIsBlocked()
  await sql(`select pg_terminate_backend(pid) from (${BLOCKED}) as blocked`)
  await other.query('rollback')

  await app.health.risen
  t.match(lines.join(''), /"msg":"the connection of the migrations broke"/)
  t.same(await sql('select name from pgmigrations order by id'), names.map((name) => ({ name })))
})

async function boot (t: Test, env: Record<string, string> = {}, stream?: { write: (line: string) => void }) {
  const app = await buildApp(loadConfig({ ...settings, MIGRATE_ON_START: 'true', ...env }), { stream })
  t.teardown(() => app.close())
  await app.ready()
  return app
}

async function connect (t: Test) {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** A replica that has found the lock taken. */
async function bootWaiting (t: Test) {
  const lines: string[] = []
  const app = await boot(t, { LOG_LEVEL: 'debug' }, { write: (line) => lines.push(line) })
  await eventually(() => lines.some((line) => line.includes('migration lock')))
  return app
}

/** Somebody else makes a table of the same name in a transaction that does not end. */
async function blockMigration (t: Test) {
  const client = await connect(t)
  await client.query('begin')
  await client.query('create table users ()')
  return client
}

async function migrationIsBlocked () {
  await eventually(async () => (await sql(BLOCKED)).length > 0)
}

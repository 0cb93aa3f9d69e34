import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { migrate, migrationStatus } from '../../plugins/migrations.ts'
import { eventually } from '../eventually.ts'
import { databaseUrl, emptyDatabase, post, settings, sql } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import type { Test } from 'tap'

const FOLDER = join(import.meta.dirname, '../../migrations')
const log = { debug: () => {}, warn: () => {} }
const names = readdirSync(FOLDER).map((file) => file.replace(/\.\w+$/, '')).sort()
const up = () => migrate({ databaseUrl, direction: 'up', log })
const down = () => migrate({ databaseUrl, direction: 'down', log })

test('each migration up, down and up again leaves the same schema', async (t) => {
  await emptyDatabase()
  t.same(await up(), names)
  t.same(await up(), [], 'and runs once')
  const schemas = [await schema()]
  for (const name of names.toReversed()) {
    t.same(await down(), [name])
    schemas.push(await schema())
  }
  t.same(await down(), [])
  t.same(schemas.at(-1), [], 'nothing is left of them')
  t.same(await up(), names)
  t.same(await schema(), schemas[0])
  for (const [i, name] of names.toReversed().entries()) {
    await down()
    t.same(await schema(), schemas[i + 1], name)
  }
})

test('they go by their names, whatever the clock and the time zone of the server were when they ran', async (t) => {
  await emptyDatabase()
  await up()
  await sql("update pgmigrations set run_on = run_on - interval '9 hours' where name = $1", [names.at(-1)])
  t.same(await up(), [])
  t.same(await down(), [names.at(-1)])
  t.same(await up(), [names.at(-1)])
})

test('each migration waits briefly for its locks, in both directions', async (t) => {
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.sql'))) {
    const [before, forward, back] = readFileSync(join(FOLDER, file), 'utf8').split(/^-- (?:Up|Down) Migration$/m)
    t.equal(before, '')
    for (const part of [forward, back]) t.match(part, /^\s*set local lock_timeout = '[1-5]s';/, file)
  }
})

test('five replicas that start together on an empty database run each migration once and are all ready', async (t) => {
  await emptyDatabase()
  const lines: string[] = []
  const stream = { write: (line: string) => lines.push(line) }
  const apps = await Promise.all(Array.from({ length: 5 }, () => boot(t, { LOG_LEVEL: 'info' }, stream)))
  await Promise.all(apps.map((app) => app.health.risen))

  t.same(await sql('select name from pgmigrations order by id'), names.map((name) => ({ name })))
  await eventually(() => lines.filter((line) => line.includes('"msg":"migrated"')).length === apps.length)
  t.same(lines.map((line) => JSON.parse(line)).filter(({ migrations }) => migrations?.length > 0).map(({ migrations }) => migrations), [names])
  for (const app of apps) t.equal((await app.inject('/ready')).statusCode, 200)
})

test('a replica that must not migrate waits until somebody did', async (t) => {
  await emptyDatabase()
  const app = await boot(t, { MIGRATE_ON_START: 'false' })
  t.match((await app.inject('/ready')).json(), { ready: false, checks: { migrations: { status: 'down' } } })
  t.equal((await post(app, '/auth/login', { email: 'ada@example.com', password: 'a password' })).statusCode, 503)
  await up()

  t.comment(`ready ${await eventually(app.health.isReady, 5000)} ms after the migrations`)
  await down()
  await eventually(async () => (await app.inject('/ready')).json().checks.migrations.status === 'down')
})

test('a server that is gone without a word when all is done holds up nobody', async (t) => {
  const way = await startProxy(t, databaseUrl)
  const end = pg.Client.prototype.end as (this: pg.Client) => Promise<void>
  t.teardown(() => { pg.Client.prototype.end = end })
  pg.Client.prototype.end = function (this: pg.Client) {
    way.forget()
    return end.call(this)
  }
  t.ok(await migrate({ databaseUrl: way.url, direction: 'up', log }))
})

test('migrations of a newer version do not make an older one unready', async (t) => {
  await emptyDatabase()
  await up()
  await sql("insert into pgmigrations (name, run_on) values ('999_later', now())")
  const app = await boot(t)
  await app.health.risen
  t.equal((await app.inject('/ready')).statusCode, 200)
})

test('what an editor or a file browser leaves beside the migrations is none', async (t) => {
  const folder = t.testdir({ '001_first.sql': '', '002_second.ts': t.fixture('symlink', '001_first.sql'), '.001_first.sql.swp': '', '.DS_Store': '', old: {} })
  t.same(await migrationStatus(async () => [{ name: '001_first' }], folder), [{ name: '001_first', hasRun: true }, { name: '002_second', hasRun: false }])
})

/** What there is but for the library's own table. */
async function schema () {
  return sql(`
    select 'column' as kind, table_name || '.' || column_name as name, concat_ws(' ', data_type, is_nullable, column_default, is_identity, identity_generation) as definition
      from information_schema.columns where table_schema = 'public' and table_name <> 'pgmigrations'
    union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'public' and tablename <> 'pgmigrations'
    union all select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'public'::regnamespace and conrelid <> 'pgmigrations'::regclass
    union all select 'relation', relname, concat_ws(' ', relkind, reloptions) from pg_class where relnamespace = 'public'::regnamespace and relname not like 'pgmigrations%'
    order by kind, name`)
}

async function boot (t: Test, env: Record<string, string> = {}, stream?: { write: (line: string) => void }) {
  const app = await buildApp(loadConfig({ ...settings, MIGRATE_ON_START: 'true', ...env }), { stream })
  t.teardown(() => app.close())
  await app.ready()
  return app
}

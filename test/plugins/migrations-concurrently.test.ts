import pg from 'pg'
import { test } from 'tap'
import { migrate } from '../../plugins/migrations.ts'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, logIn, post, signUp, sql } from '../helper.ts'
import type { Test } from 'tap'

const WAITING = "from pg_stat_activity where datname = current_database() and application_name = 'microts migrate' and wait_event_type = 'Lock'"
const NAME = '002_sessions-by-user-alone'
const log = { debug: () => {}, warn: () => {} }
const up = () => migrate({ databaseUrl, direction: 'up', log })

/** Back to before the one that builds an index. */
async function down () {
  while (!(await migrate({ databaseUrl, direction: 'down', log })).includes(NAME));
}

test('what is open while an index is built makes it wait, and nobody else', async (t) => {
  const app = await build(t)
  const { email, refreshToken, headers } = await signUp(app)
  await down()
  const old = await begin(t, 'select from sessions')
  const migrating = up()
  await isWaiting()
  t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 200)
  await logIn(app, email)
  t.equal((await post(app, '/auth/logout', {}, headers)).statusCode, 204)
  t.same(await sql(`select ${WAITING}`), [{}], 'it waits still')
  await old.query('commit')

  t.equal((await migrating)[0], NAME)
  t.same(await indexes(), [{ name: 'sessions_user_end_idx', isValid: true }])
})

for (const { what, holding, left } of [
  { what: 'built an index', holding: 'select from sessions', left: [{ name: 'sessions_user_id_idx', isValid: true }, { name: 'sessions_user_idx', isValid: false }] },
  { what: 'dropped one', holding: 'lock table sessions in access share mode', left: [{ name: 'sessions_user_id_idx', isValid: false }, { name: 'sessions_user_idx', isValid: true }] }
]) {
  test(`what a migration leaves that was killed while it ${what} is found and repaired by the next run`, async (t) => {
    await up()
    await down()
    t.same(await indexes(), [{ name: 'sessions_user_id_idx', isValid: true }])
    const other = await begin(t, holding)
    const killed = t.rejects(up(), { code: '57P01' })
    await isWaiting()
    await sql(`select pg_terminate_backend(pid) ${WAITING}`)
    await killed
    t.same(await indexes(), left)
    t.same(await sql('select from pgmigrations where name = $1', [NAME]), [])
    await other.query('rollback')

    t.equal((await up())[0], NAME)
    t.same(await indexes(), [{ name: 'sessions_user_end_idx', isValid: true }])
  })
}

/** A transaction with a snapshot, or without one but with a lock. */
async function begin (t: Test, statement: string) {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  t.teardown(() => client.end())
  await client.query(statement.startsWith('select') ? 'begin isolation level repeatable read' : 'begin')
  await client.query(statement)
  return client
}

const isWaiting = () => eventually(async () => (await sql(`select ${WAITING}`)).length > 0)

const indexes = () => sql(`
  select indexrelid::regclass::text as name, indisvalid as "isValid" from pg_index
  where indrelid = 'sessions'::regclass and not indisprimary order by name`)

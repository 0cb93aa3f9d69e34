import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test, t as file } from 'tap'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, post, signUp, sql } from '../helper.ts'
import { createLog } from '../log.ts'
import { startProxy } from '../proxy.ts'
import { BACKENDS, insertSessions, isAsleep, isThereWork, onDelete, purgeOf, revocations, rowsOf, sessions, untilAsleep, type Line } from './purge/replica.ts'

file.beforeEach(() => sql('truncate users, sessions, revocations'))

test('what has ended a day ago goes, and nothing else', async (t) => {
  const live = { expires_at: '30 days', idle_expires_at: '7 days', revoked_at: null }
  const stay = await Promise.all([
    live, { ...live, revoked_at: '-1435 minutes' }, { ...live, idle_expires_at: '-1435 minutes' }, { ...live, expires_at: '-1435 minutes' }
  ].map(session))
  const go = [{ ...live, revoked_at: '-1445 minutes' }, { ...live, idle_expires_at: '-1445 minutes' }, { ...live, expires_at: '-1445 minutes' }]
  await Promise.all(go.map(session))
  const log = createLog()
  await build(t, { LOG_LEVEL: 'info' }, { stream: log })
  await log.line('old sessions purged')

  t.same((await sql('select id from sessions order by id')).map(({ id }) => id), stay.toSorted())
  t.match(log.lines.filter(({ msg }) => msg.endsWith('purged')), [{ level: 30, rows: go.length, tookMs: Number }])
})

test('a refresh token is refused alike before and after its session has gone', async (t) => {
  const app = await build(t)
  const { refreshToken } = await signUp(app)
  await sql('update sessions set revoked_at = now()')
  const refused = async () => {
    const { statusCode, body } = await post(app, '/auth/refresh', { refreshToken })
    return { statusCode, body: body.replaceAll(/"(request|correlation)Id":"[^"]+"/g, '') }
  }
  const before = await refused()
  await sql("update sessions set revoked_at = now() - interval '25 hours'")
  const purge = purgeOf(t)
  await eventually(async () => {
    await purge.round()
    return !await isThereWork()
  })

  t.match(before, { statusCode: 401, body: /INVALID_REFRESH_TOKEN/ })
  t.same(await refused(), before)
})

test('it deletes at most 1000 rows with a statement', async (t) => {
  await insertSessions(2345)
  await sql(`
    create table batches (rows int);
    create function note() returns trigger language plpgsql as $$ begin insert into batches select count(*) from gone; return null; end $$;
    create trigger note after delete on sessions referencing old table as gone for each statement execute function note()`)
  t.teardown(() => sql('drop table batches; drop function note() cascade'))
  await purgeOf(t).round()

  t.same((await sql('select rows from batches')).map(({ rows }) => rows), [1000, 1000, 345])
  t.same(await sql(`select ${BACKENDS}`), [], 'and leaves no connection')
})

test('it comes again and again', async (t) => {
  const lines: Line[] = []
  const stop = new AbortController()
  const running = purgeOf(t, { lines, signal: stop.signal, everyMs: 5 }).run()
  for (const count of [1, 2]) {
    await insertSessions(count)
    await eventually(async () => rowsOf(lines) === count * (count + 1) / 2)
  }
  stop.abort()
  await running
})

test('a standby is left alone', async (t) => {
  await insertSessions(1)
  const database = new URL(databaseUrl).pathname.slice(1)
  await sql(`
    create function public.pg_is_in_recovery() returns boolean language sql as 'select true';
    alter database ${database} set search_path = public, pg_catalog`)
  t.teardown(() => sql(`drop function public.pg_is_in_recovery(); alter database ${database} reset search_path`))
  const lines: Line[] = []
  await purgeOf(t, { lines }).round()

  t.equal((await sql('select from sessions')).length, 1)
  t.same(lines, [])
})

test('what fails is told, and stops neither the other table nor the next round', async (t) => {
  await insertSessions(1)
  await sql("insert into revocations (session_id, at) values (gen_random_uuid(), now() - interval '2 hours')")
  const heal = await onDelete(t, "raise 'no'")
  const lines: Line[] = []
  const purge = purgeOf(t, { lines, rules: [sessions, revocations] })
  await purge.round()
  await heal()
  await purge.round()

  t.match(lines, [
    { level: 'warn', msg: 'old sessions could not be purged', err: { message: 'no' } },
    { level: 'info', msg: 'old revocations purged', rows: 1 },
    { level: 'info', msg: 'old sessions purged', rows: 1 }
  ])
})

test('a certificate that has gone is told of, round after round', async (t) => {
  const file = join(t.testdir({ certificate: '' }), 'certificate')
  const lines: Line[] = []
  const stop = new AbortController()
  const purge = purgeOf(t, { lines, signal: stop.signal, url: `${databaseUrl}&sslrootcert=${file}`, everyMs: 5 })
  await rm(file)
  const running = purge.run()
  await eventually(() => lines.length > 1)
  stop.abort()
  await running

  t.match(lines[1], { level: 'warn', msg: 'old sessions could not be purged', err: { code: 'ENOENT' } })
})

test('a connection that is killed is told, and what it had deleted stays deleted', async (t) => {
  await insertSessions(1001)
  await onDelete(t, 'if (select count(*) from sessions) = 1 then perform pg_sleep(3); end if')
  const lines: Line[] = []
  const purged = purgeOf(t, { lines }).round()
  await untilAsleep()
  await sql(`select pg_terminate_backend(pid) ${BACKENDS}`)
  await purged

  t.match(lines, [{ msg: 'old sessions could not be purged', err: { code: '57P01' } }, { msg: 'old sessions purged', rows: 1000 }])
  t.equal((await sql('select from sessions')).length, 1)
})

test('closing ends it at once, whatever it waits for', async (t) => {
  await insertSessions(1)
  await onDelete(t, 'perform pg_sleep(3)')
  const log = createLog()
  const app = await build(t, { LOG_LEVEL: 'info' }, { stream: log })
  await untilAsleep()
  await app.close()
  t.ok(await isAsleep(), 'before the statement has ended')

  const proxy = await startProxy(t, databaseUrl, 'swallow')
  const lines: Line[] = []
  const stop = new AbortController()
  const connecting = purgeOf(t, { lines, signal: stop.signal, url: proxy.url, rules: [sessions, revocations] }).run()
  await eventually(() => proxy.connections === 1)
  stop.abort()
  await connecting
  t.equal(proxy.connections, 1)
  t.same(lines, [])
  t.same(log.lines.filter(({ level, msg }) => level > 30 || msg.includes('purged')), [])
})

async function session (ends: Record<string, string | null>) {
  const [id] = await insertSessions(1, 'null')
  for (const [column, from] of Object.entries(ends)) await sql(`update sessions set ${column} = now() + $2::interval where id = $1`, [id, from])
  return id!
}

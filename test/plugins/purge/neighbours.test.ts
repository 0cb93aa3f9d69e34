import pg from 'pg'
import { test, t as file } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, logIn, post, signUp, sql } from '../../helper.ts'
import { insertSessions, isAsleep, isThereWork, onDelete, purgeOf, rowsOf, untilAsleep, type Line } from './replica.ts'
import type { Test } from 'tap'

const LOCK = "hashtextextended('microts purge sessions', 0)"
file.beforeEach(() => sql('truncate users, sessions, revocations'))

test('while 50 000 rows go, logins and refreshes succeed and no request waits for a lock', async (t) => {
  const app = await build(t)
  const { email, ...first } = await signUp(app)
  await insertSessions(50_000)
  const stop = purging(t)

  let { refreshToken } = first
  let rounds = 0
  for (; await isThereWork(); rounds++) {
    const refreshed = await post(app, '/auth/refresh', { refreshToken })
    if (refreshed.statusCode !== 200) t.equal(refreshed.statusCode, 200)
    refreshToken = refreshed.json().refreshToken
    await logIn(app, email)
    const waiting = await sql("select query from pg_stat_activity where datname = current_database() and application_name = 'microts' and wait_event_type = 'Lock'")
    if (waiting.length > 0) t.same(waiting, [])
  }
  await stop()
  t.ok(rounds > 5, `${rounds} rounds`)
})

test('a user whose old sessions are being deleted waits for nothing', async (t) => {
  const app = await build(t)
  const { user, email, refreshToken } = await signUp(app)
  await onDelete(t, 'perform pg_sleep(2.5)')
  await insertSessions(1, "now() - interval '2 days'", user.id)
  const stop = purging(t)
  await untilAsleep()
  t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 200)
  await logIn(app, email)
  t.ok(await isAsleep(), 'it is being deleted still')

  await eventually(async () => !await isThereWork())
  await stop()
})

test('a row that somebody holds is left for the next time', async (t) => {
  const [held] = await insertSessions(3)
  const other = await connect(t)
  await other.query('begin')
  await other.query('select from sessions where id = $1 for update', [held])
  const lines: Line[] = []
  const purge = purgeOf(t, { lines })
  await purge.round()
  t.same(await sql('select id from sessions'), [{ id: held }])
  await other.query('rollback')
  await purge.round()

  t.same(await sql('select id from sessions'), [])
  t.match(lines, [{ rows: 2 }, { rows: 1 }])
})

test('of many replicas one works at a time', async (t) => {
  await insertSessions(3000)
  const other = await connect(t)
  await other.query(`select pg_advisory_lock(${LOCK})`)
  const lines: Line[] = []
  const replicas = Array.from({ length: 4 }, () => purgeOf(t, { lines }))
  await Promise.all(replicas.map((purge) => purge.round()))
  t.equal((await sql('select from sessions')).length, 3000)
  t.same(lines, [])
  await other.query(`select pg_advisory_unlock(${LOCK})`)
  await Promise.all(replicas.map((purge) => purge.round()))

  t.same(await sql('select from sessions'), [])
  t.equal(rowsOf(lines), 3000)
})

test('who found another replica at it goes on from there, so that the end of the table has its turn', async (t) => {
  const [first, last] = ['00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff']
  await insertSessions(1000, 'null')
  const insertEnded = async (id: string) => sql('update sessions set id = $1 where id = $2', [id, (await insertSessions(1))[0]])
  for (const id of [first, last]) await insertEnded(id)
  const remaining = async () => (await sql('select id from sessions where revoked_at is not null order by id')).map(({ id }) => id)
  const heal = await onDelete(t, 'perform pg_sleep(0.3)')
  const purge = purgeOf(t)
  const round = purge.round()
  await untilAsleep()
  const other = await connect(t)
  await other.query(`select pg_advisory_lock(${LOCK})`)
  await round
  await heal()
  t.same(await remaining(), [last])
  await other.query(`select pg_advisory_unlock(${LOCK})`)
  await insertEnded(first)
  await purge.round()
  t.same(await remaining(), [first])
  await purge.round()
  t.same(await remaining(), [])
})

/** Round after round, since the service's own may get in the way of one; answers how to stop. */
function purging (t: Test) {
  const stop = new AbortController()
  const running = purgeOf(t, { signal: stop.signal, everyMs: 100 }).run()
  return () => {
    stop.abort()
    return running
  }
}

async function connect (t: Test) {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

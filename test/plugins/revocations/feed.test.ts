import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { setImmediate as turnEnd } from 'node:timers/promises'
import pg from 'pg'
import { test, t as file } from 'tap'
import { createFeed } from '../../../plugins/revocations/feed.ts'
import { within } from '../../../plugins/within.ts'
import { eventually } from '../../eventually.ts'
import { databaseUrl, sql } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import type { Test } from 'tap'

const database = new URL(databaseUrl).pathname.slice(1)
const BACKENDS = "from pg_stat_activity where datname = current_database() and application_name = 'microts revocations'"
file.beforeEach(() => sql('truncate revocations'))

test('the first read brings the whole table, the next what is new', async (t) => {
  const { read } = feedOf(t)
  const first = [await revoke(), await revoke()]
  t.same(await read(), first)
  t.same(await read(), [])
  const next = await revoke()
  t.same(await read(), [next])
  t.equal((await sql(`select ${BACKENDS}`)).length, 1, 'over one connection')
})

test('a transaction that began early and commits late is not missed', async (t) => {
  const { read } = feedOf(t)
  t.same(await read(), [])
  const [early, late] = [await connect(t), await connect(t)]
  const ids = { early: randomUUID(), late: randomUUID() }
  await early.query('begin')
  await insert(early, ids.early)
  await late.query('begin')
  await insert(late, ids.late)
  await late.query('commit')
  t.same(await read(), [ids.late])
  await early.query('commit')

  t.ok((await read()).includes(ids.early))
  t.same(await read(), [])
})

test('what has been read is not read again, however long another transaction lasts', async (t) => {
  const { read } = feedOf(t)
  const other = await connect(t)
  await other.query('begin')
  await other.query('select pg_current_xact_id()')
  await read()
  const id = await revoke()
  t.same(await read(), [id])

  t.same(await read(), [])
})

test('a connection that is killed is replaced, and the whole table read', async (t) => {
  const { read } = feedOf(t)
  const id = await revoke()
  await read()
  const next = await revoke()
  await sql(`select pg_terminate_backend(pid) ${BACKENDS}`)
  let ids: string[] = []
  await eventually(() => read().then((read) => { ids = read; return true }, () => false), 1000)

  t.same(ids, [id, next])
})

test('another server behind the same connection is read from the beginning', async (t) => {
  await pretend(t, 'pg_postmaster_start_time() returns timestamptz', 'select at from started')
  await sql('create table started as select now() as at')
  const { read } = feedOf(t)
  const id = await revoke()
  t.same(await read(), [id])
  t.same(await read(), [])
  await sql("update started set at = at + interval '1 second'")

  t.same(await read(), [id])
  t.same(await read(), [])
})

test('a table of any length is read in pages, and what commits meanwhile by the next read', async (t) => {
  const { read } = feedOf(t)
  await sql('insert into revocations (session_id) select gen_random_uuid() from generate_series(1, 40001)')
  const early = await connect(t)
  await early.query('begin')
  const id = randomUUID()
  await insert(early, id)
  const ids = await read()
  t.equal(new Set(ids).size, 40_001)
  await early.query('commit')
  t.ok((await read()).includes(id))
  t.same(await read(), [])
})

test('pages of two servers are not taken for one table', async (t) => {
  await sql('create sequence starts')
  await pretend(t, 'pg_postmaster_start_time() returns timestamptz', "select to_timestamp(nextval('starts'))")
  await sql('insert into revocations (session_id) select gen_random_uuid() from generate_series(1, 20001)')
  await t.rejects(feedOf(t).read(), { message: 'the database was replaced by another one' })
})

test('a standby is not believed', async (t) => {
  const { read } = feedOf(t)
  await read()
  const id = await revoke()
  await pretend(t, 'pg_is_in_recovery() returns boolean', 'select true')
  await sql(`select pg_terminate_backend(pid) ${BACKENDS}`)
  await eventually(() => read().then(() => false, ({ message }) => message === 'the database is a standby, which may lag'))
  await sql('drop function public.pg_is_in_recovery()')

  t.same(await read(), [id])
})

test('a read that does not answer within 300 ms is given up, and so is its connection', async (t) => {
  const { read } = feedOf(t)
  const id = await revoke()
  await read()
  const other = await connect(t)
  await other.query('begin')
  await other.query('lock table revocations')
  const startedAt = performance.now()
  await t.rejects(read(), { message: 'no answer within 300 ms' })
  const tookMs = performance.now() - startedAt
  t.ok(tookMs >= 295 && tookMs < 700, `given up after ${tookMs} ms`)
  await other.query('rollback')

  t.same(await read(), [id])
})

test('an answer that has come while the loop was held up is one', async (t) => {
  const { read } = feedOf(t)
  await read()
  const other = await connect(t)
  await other.query('begin')
  await other.query('lock table revocations')
  const freeing = other.query('select pg_sleep(0.1); commit')
  const reading = read()
  await turnEnd()
  holdUp(400)
  await t.resolves(reading)
  await freeing
})

test('reading the whole table may take longer', async (t) => {
  const { read } = feedOf(t)
  const id = await revoke()
  const other = await connect(t)
  await other.query('begin')
  await other.query('lock table revocations')
  const reading = read()
  await eventually(async () => (await sql(`select ${BACKENDS} and wait_event_type = 'Lock' and now() - query_start > interval '400 ms'`)).length === 1)
  await other.query('rollback')

  t.same(await reading, [id])
})

test('a server that is away or silent fails a read soon, and its return the next one not', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const { read } = feedOf(t, proxy.url)
  const id = await revoke()
  await read()
  for (const [mode, withinMs] of [['refuse', 300], ['reset', 300], ['swallow', 900]] as const) {
    await proxy.set(mode)
    const startedAt = performance.now()
    await t.rejects(read(), Error, mode)
    const tookMs = performance.now() - startedAt
    t.ok(tookMs < withinMs, `${mode}: ${tookMs} ms`)
    await proxy.set('pass')
    t.same(await read(), [id])
  }
})

test('who is stopped ends a read at once, wherever it is, and begins no other', async (t) => {
  for (const [mode, first] of [['swallow', 0], ['pass', 1]] as const) {
    const proxy = await startProxy(t, databaseUrl, mode)
    const { read, stop } = feedOf(t, proxy.url)
    for (let i = 0; i < first; i++) await read()
    await proxy.set('swallow')
    const reading = read()
    await eventually(() => proxy.connections === 1)
    const startedAt = performance.now()
    stop()
    await t.rejects(reading)
    t.ok(performance.now() - startedAt < 300)
    await proxy.set('pass')
    await t.rejects(read(), { message: 'the feed has been stopped' })
    stop()
    t.equal(proxy.connections, 1)
  }
})

function feedOf (t: Test, url = databaseUrl) {
  const feed = createFeed({ DATABASE_URL: url, DB_CONNECT_TIMEOUT: 1000, DB_QUERY_TIMEOUT: 1800 }, within)
  t.teardown(async () => {
    feed.stop()
    await eventually(async () => (await sql(`select ${BACKENDS}`)).length === 0)
  })
  return feed
}

async function revoke () {
  const id = randomUUID()
  await sql('insert into revocations (session_id) values ($1)', [id])
  return id
}

const insert = (client: pg.Client, id: string) => client.query('insert into revocations (session_id) values ($1)', [id])

async function connect (t: Test) {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** New connections to this database take our function for PostgreSQL's. */
async function pretend (t: Test, declaration: string, body: string) {
  await sql(`set check_function_bodies = off; create function public.${declaration} language sql as $$ ${body} $$`)
  await sql(`alter database ${database} set search_path = public, pg_catalog`)
  t.teardown(() => sql(`drop function if exists public.${declaration.split(' ')[0]}; alter database ${database} reset search_path`))
}

/** As a long computation does, or a machine that is too busy. */
const holdUp = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

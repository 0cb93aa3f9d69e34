import { mock } from 'node:test'
import { test } from 'tap'
import { NotFound } from '../../plugins/errors.ts'
import { eventually } from '../eventually.ts'
import { build, post, settings, sql } from '../helper.ts'
import type { FastifyInstance } from 'fastify'
import type { Sql } from '../../plugins/db/statements.ts'

const UNAVAILABLE = { code: 'SERVICE_UNAVAILABLE', statusCode: 503 }
const ONE = { DB_POOL_SIZE: '1' }

test('a statement is prepared once per connection', async (t) => {
  const { db } = await build(t, ONE)
  const text = 'select $1::int + 1 as sum'
  for (const value of [1, 2]) t.same(await db.query(text, [value]), [{ sum: value + 1 }])
  await db.tx((tx) => tx.query(text, [3]))

  t.same(await db.query('select (generic_plans + custom_plans)::int as uses from pg_prepared_statements where statement = $1', [text]), [{ uses: 3 }])
})

test('a statement is planned once per connection, for arrays of any length', async (t) => {
  const { db } = await build(t, ONE)
  for (const numbers of [[1], [1, 2, 3], []]) await db.query('select where 1 = any($1::integer[])', [numbers])
  t.same(await db.query("select generic_plans::int as once, custom_plans::int as anew from pg_prepared_statements where statement like 'select where 1%'"), [{ once: 3, anew: 0 }])
})

test('a connection is kept through quiet minutes, not through quiet hours', async (t) => {
  const { db, pg: { pool } } = await build(t, { DB_POOL_SIZE: '2' })
  t.equal(pool.totalCount, 0)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  await db.tx(() => db.query('select 1'))
  t.equal(pool.totalCount, 2)
  mock.timers.tick(4 * 60_000)
  t.equal(pool.totalCount, 2)
  mock.timers.tick(2 * 60_000)
  t.equal(pool.totalCount, 0)
})

test('who waits in vain for a connection that others hold is told so, and no outage is noted', async (t) => {
  const { db } = await build(t, { ...ONE, DB_CONNECT_TIMEOUT: '1000' })
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const holder = db.tx(() => released)
  await t.rejects(db.query('select 1'), UNAVAILABLE)
  release()
  await holder
  t.equal(db.lastOutage(), undefined)
})

test('a refusal inside a transaction takes back what it did and keeps the connection', async (t) => {
  const { db } = await build(t, ONE)
  const before = await pidOf(db)
  await t.rejects(db.tx(async (tx) => {
    await revocation(tx)
    throw new NotFound()
  }), { code: 'NOT_FOUND' })

  t.same(await sql('select from revocations'), [])
  t.equal(await pidOf(db), before)
})

test('what a statement refuses reaches the caller, and is no trouble', async (t) => {
  const { db } = await build(t, ONE)
  const before = await pidOf(db)
  const twice = () => db.tx(async (tx) => {
    for (const id of [1, 1]) await tx.query('insert into revocations (id, session_id) overriding system value values ($1, gen_random_uuid())', [id])
  })
  await t.rejects(twice(), { code: '23505', constraint: 'revocations_pkey' })

  t.same(await sql('select from revocations'), [])
  t.equal(await pidOf(db), before)
  t.equal(db.lastOutage(), undefined)
})

test('a mistake of ours is no trouble of the database', async (t) => {
  const { db } = await build(t, ONE)
  await t.rejects(db.tx(async (tx) => {
    await revocation(tx)
    return (undefined as unknown as string).length
  }), TypeError)
  await t.rejects(db.query('select nothing from users where'), { code: '42601' })

  t.same(await db.query('select from revocations'), [])
  t.equal(db.lastOutage(), undefined)
})

test('a transaction that went on after a failure is not taken for committed', async (t) => {
  const { db } = await build(t, ONE)
  await t.rejects(db.tx(async (tx) => {
    await revocation(tx)
    await tx.query('select 1 / 0').catch(() => {})
  }), { code: 'INTERNAL_SERVER_ERROR', statusCode: 500 })

  t.same(await sql('select from revocations'), [])
})

test('transactions that cannot be put in an order are tried again', async (t) => {
  const { db } = await build(t)
  await sql('create table counters as select id, 0 as value from generate_series(1, 2) as id')
  const { promise: bothHaveRead, resolve: go } = Promise.withResolvers<void>()
  let reads = 0
  const add = (id: number) => db.tx(async (tx) => {
    await tx.query('set transaction isolation level serializable')
    const [row] = await tx.query<{ sum: number }>('select sum(value)::int from counters')
    if (++reads === 2) go()
    await bothHaveRead
    await tx.query('update counters set value = $2 + 1 where id = $1', [id, row?.sum])
  })
  await Promise.all([add(1), add(2)])

  t.equal(reads, 3, 'one of them was tried again')
  t.same(await sql('select value from counters order by value'), [{ value: 1 }, { value: 2 }])
})

for (const code of ['40001', '40P01']) {
  test(`what fails with ${code} each time is given up after three tries, as trouble`, async (t) => {
    const { db } = await build(t)
    await sql(`
      create or replace function conflict() returns void language plpgsql as $$ begin
        perform nextval('tries');
        raise exception 'conflict' using errcode = '${code}';
      end $$;
      drop sequence if exists tries;
      create sequence tries`)
    await t.rejects(db.tx((tx) => tx.query('select conflict()')), UNAVAILABLE)
    t.same(await sql('select last_value::int as tries from tries'), [{ tries: 3 }])
    await t.rejects(db.query('select conflict()'), UNAVAILABLE)
    t.same(await sql('select last_value::int as tries from tries'), [{ tries: 6 }])
    t.equal(db.lastOutage(), undefined)
  })
}

test('a prepared statement whose columns were migrated is prepared anew', async (t) => {
  const { db } = await build(t)
  await sql('create table migrated as select 1::int as value')
  const read = () => db.query('select value from migrated')
  t.same(await read(), [{ value: 1 }])
  await sql('alter table migrated alter column value type text')

  t.same(await read(), [{ value: '1' }])
})

test('a statement that takes too long is cancelled and keeps the connection', async (t) => {
  const { db } = await build(t, { ...ONE, DB_QUERY_TIMEOUT: '500' })
  const before = await pidOf(db)
  await t.rejects(db.query('select pg_sleep(60)'), { ...UNAVAILABLE, cause: { code: '57014' } })

  t.equal(await pidOf(db), before)
  t.same(await sql("select from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()"), [])
})

test('a lock that others hold is not waited for without an end', async (t) => {
  const { db } = await build(t, { DB_QUERY_TIMEOUT: '500' })
  await db.tx(async (tx) => {
    await tx.query('lock table revocations')
    await t.rejects(db.tx(revocation), { ...UNAVAILABLE, cause: { code: '55P03' } })
  })
})

test('who finds no free connection waits a little and is refused', async (t) => {
  const app = await build(t, { ...ONE, DB_CONNECT_TIMEOUT: '1000' })
  await app.db.tx(async () => {
    const response = await post(app, '/auth/login', { email: 'ada@example.com', password: 'correct horse battery staple' })
    t.equal(response.statusCode, 503)
    t.equal(response.headers['retry-after'], '1')
  })
  t.ok(await pidOf(app.db))
})

test('a table that is not there yet is trouble, until it is', async (t) => {
  const { db } = await build(t)
  const read = () => db.query('select from later')
  await t.rejects(read(), { ...UNAVAILABLE, cause: { code: '42P01' } })
  await sql('create table later ()')

  t.same(await read(), [])
})

test('a server that only reads is trouble, and its connection goes', async (t) => {
  const { db } = await build(t, ONE)
  const before = await pidOf(db)
  await t.rejects(db.tx(async (tx) => {
    await tx.query('set transaction read only')
    await revocation(tx)
  }), { ...UNAVAILABLE, cause: { code: '25006' } })

  t.not(await pidOf(db), before)
})

test('a breaking idle connection is logged and replaced', async (t) => {
  const lines: string[] = []
  const app = await build(t, { LOG_LEVEL: 'warn' }, { stream: { write: (line) => lines.push(line) } })
  const before = await pidOf(app.db)
  await eventually(async () => {
    await killAll()
    return lines.length > 0
  })
  await eventually(() => pidOf(app.db).then((pid) => pid !== before, () => false), 5000)

  t.match(lines.join(''), /"msg":"an idle database connection broke"/)
  t.notMatch(lines.join(''), new URL(settings.DATABASE_URL!).password)
})

const revocation = (on: Sql) => on.query('insert into revocations (session_id) values (gen_random_uuid())')

async function pidOf (db: FastifyInstance['db']) {
  const [row] = await db.query<{ pid: number }>('select pg_backend_pid() as pid')
  return row?.pid
}

const killAll = () => sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'microts'")

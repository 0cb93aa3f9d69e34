import pg from 'pg'
import { test } from 'tap'
import { askTogether } from '../../../plugins/db/batch.ts'
import { NotFound } from '../../../plugins/errors.ts'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, signUp, sql } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import { lock, waitFor } from './locks.ts'
import { isSound } from './pool.ts'

const NOTE = 'insert into revocations (id, session_id) overriding system value values ($1, gen_random_uuid()) returning id::int'
const noted = () => sql('select id::int from revocations order by id')

test('a batch is done, and committed, before any of it is answered', async (t) => {
  const way = await startProxy(t, databaseUrl)
  const app = await build(t, { DATABASE_URL: way.url, DB_QUERY_TIMEOUT: '20000' })
  const { user } = await signUp(app)
  const LOCK = 'select id from users where id = $1 for update'
  const unlock = await lock(t, LOCK, [user.id])
  const batch = app.db.batch([LOCK, [user.id]], [NOTE, [1]], [NOTE, [2]])
  await waitFor(1)
  await way.set('swallow')
  await unlock()
  await eventually(async () => (await noted()).length === 2)
  await way.set('pass')
  t.same(await batch, [{ id: 2 }], 'the answer of the last one')
})

test('of one that fails nothing is left, and its connection is as good as before', async (t) => {
  const app = await build(t, { DB_POOL_SIZE: '4' })
  await sql('truncate revocations')
  for (const statements of [[1, 1], [1, 1, 2]]) {
    await t.rejects(app.db.batch(...statements.map((id): [string, unknown[]] => [NOTE, [id]])), { code: '23505', constraint: 'revocations_pkey' })
  }
  t.same(await noted(), [])
  await isSound(t, app)
  t.same(await app.db.batch([NOTE, [1]]), [{ id: 1 }])
  t.equal(app.db.lastOutage(), undefined)
})

test('in a transaction it is a part of that', async (t) => {
  const { db } = await build(t)
  await sql('truncate revocations')
  await t.rejects(db.tx(async (tx) => {
    t.same(await tx.batch([NOTE, [1]], [NOTE, [2]]), [{ id: 2 }])
    throw new NotFound()
  }), { code: 'NOT_FOUND' })
  t.same(await noted(), [])
  await db.tx((tx) => tx.batch([NOTE, [1]], [NOTE, [2]]))
  t.same(await noted(), [{ id: 1 }, { id: 2 }])
})

test('what comes after one that was refused, and was never parsed, may be asked later', async (t) => {
  const { db } = await build(t, { DB_POOL_SIZE: '1' })
  await sql('truncate revocations')
  for (const refused of ['insert into revocations (session_id) values (null)', 'insert into nothing_like_it values (1)']) {
    const next = `${NOTE} -- after ${refused}`
    await t.rejects(db.batch([NOTE, [1]], [refused], [next, [2]], [NOTE, [3]]))
    t.same(await db.query(next, [4]), [{ id: 4 }])
    t.same(await db.batch([NOTE, [1]], [next, [2]]), [{ id: 2 }])
    await sql('truncate revocations')
  }
})

test('of one that cannot be sent nothing is, and its connection is not used again', async (t) => {
  const app = await build(t, { DB_POOL_SIZE: '1' })
  await sql('truncate revocations')
  const unsendable = { toPostgres () { throw new TypeError('no such value') } }
  await t.rejects(app.db.batch([NOTE, [1]], [NOTE, [unsendable]]), { message: 'no such value' })
  t.same(await app.db.batch([NOTE, [2]], [NOTE, [3]]), [{ id: 3 }])
  t.same(await noted(), [{ id: 2 }, { id: 3 }])
})

const note = (value: unknown) => ({ name: 'note', text: NOTE, values: [value] })
const UNSENDABLE = [
  [note({ toPostgres () { throw new TypeError('no such value') } }), 'no such value'],
  [{ name: 'note', text: 'select 1' }, /must be unique/]
] as const

for (const [statement, message] of UNSENDABLE) {
  test(`nor of one that cannot be sent when its turn comes: ${message}`, async (t) => {
    const client = new pg.Client(databaseUrl)
    await client.connect()
    client.on('error', () => {})
    t.teardown(() => client.end())
    await sql('truncate revocations')
    const before = client.query('select 1 as n')
    const refused = t.rejects(askTogether(client, [note(1), statement]), { message })
    t.same((await before).rows, [{ n: 1 }])
    await refused
    await t.rejects(client.query('select 2'), 'or that would commit what there was of it')
    t.same(await noted(), [])
  })
}

test('it is committed as a whole or not at all, whatever its end brings', async (t) => {
  const { db } = await build(t, { DB_POOL_SIZE: '1' })
  await sql('create table late (id int primary key deferrable initially deferred)')
  t.teardown(() => sql('drop table late'))
  const put = (n: number): [string, unknown[]] => ['insert into late values ($1)', [n]]
  await t.rejects(db.batch(put(1), put(1)), { code: '23505', constraint: 'late_pkey' })
  t.same(await db.batch(put(1), ['select count(*)::int as n from late']), [{ n: 1 }])
})

test('all of it is sent in one go and answered at once', async (t) => {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  t.teardown(() => client.end())
  const { stream } = client.connection
  let isReady = 0
  client.connection.on('readyForQuery', () => isReady++)
  const corked: number[] = []
  const id = (n: number) => ({ toPostgres: () => { corked.push(stream.writableCorked); return n } })
  const statements = [1, 2, 3].map((n) => ({ name: `note ${n}`, text: 'select $1::int as n', values: [id(n)] }))
  t.same((await askTogether(client, statements)).rows, [{ n: 3 }])
  t.equal(isReady, 1)
  t.ok(corked.every((depth) => depth > 1), 'not only each on its own')
  t.equal(stream.writableCorked, 0)
})

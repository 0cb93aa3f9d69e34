import { PassThrough } from 'node:stream'
import { test } from 'tap'
import { askAsOne } from '../../../plugins/db/statements.ts'
import { NotFound } from '../../../plugins/errors.ts'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, signUp, sql } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import { lock, waitFor } from './locks.ts'
import { isSound } from './pool.ts'
import type { PoolClient } from 'pg'

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

test('that its connection broke is told before what was refused on it', async (t) => {
  const refused = Object.assign(new Error('lock timeout'), { severity: 'ERROR', code: '55P03' })
  const silent = new Error('Query read timeout')
  const outcomes = [undefined, refused, refused, silent, silent]
  const query = async () => {
    const error = outcomes.shift()
    if (error) throw error
  }
  await t.rejects(askAsOne(client(query), undefined, [['select 1'], ['select 2'], ['select 3']]), silent)
})

test('all of it is sent in one go, and whatever happens the connection may send again', async (t) => {
  const stream = new PassThrough()
  const corked: number[] = []
  const query = async () => {
    corked.push(stream.writableCorked)
    return { rows: [] }
  }
  await askAsOne(client(query, stream), undefined, [['select 1']])
  t.same(corked, [1, 1, 1])
  t.equal(stream.writableCorked, 0)

  await t.rejects(askAsOne(client(() => { throw new Error('not sent') }, stream), undefined, [['select 1']]), { message: 'not sent' })
  t.equal(stream.writableCorked, 0)
})

const client = (query: () => unknown, stream = new PassThrough()) => ({ query, connection: { stream } }) as unknown as PoolClient

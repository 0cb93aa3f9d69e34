import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { createOutages } from '../../../plugins/db/outages.ts'
import { isBroken, isPassing, isTrouble } from '../../../plugins/db/trouble.ts'
import { NotFound } from '../../../plugins/errors.ts'
import { eventually } from '../../eventually.ts'
import { build, databaseUrl, HURRIED, post, signUp, sql } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import type { FastifyInstance } from 'fastify'

const UNAVAILABLE = { code: 'SERVICE_UNAVAILABLE', statusCode: 503 }
const ONE = { DB_POOL_SIZE: '1' }
const ACCOUNT = { email: 'ada@example.com', password: 'correct horse battery staple' }

test('a connection that is killed inside a transaction does not come back', async (t) => {
  const { db, pg } = await build(t, ONE)
  let before: number | undefined
  await t.rejects(db.tx(async (tx) => {
    await tx.query('insert into revocations (session_id) values (gen_random_uuid())')
    const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid')
    before = row?.pid
    await sql('select pg_terminate_backend($1)', [before])
    await tx.query('select 1')
  }), UNAVAILABLE)

  t.not(await pidOf(db), before)
  t.equal(pg.pool.totalCount, 1)
  t.same(await sql('select from revocations'), [])
})

test('a transaction that its owner leaves lying is ended, and what it held is free', async (t) => {
  const { db } = await build(t, ONE)
  await t.rejects(db.tx(async (tx) => {
    await tx.query('lock table revocations')
    const startedAt = performance.now()
    await sql('select from revocations')
    t.ok(performance.now() - startedAt < 10_000)
    await tx.query('select 1')
  }), UNAVAILABLE)
})

test('a connection that is killed while its transaction does something else ends no process', async (t) => {
  const { db, pg } = await build(t, ONE)
  const acquired = once(pg.pool, 'acquire')
  await t.rejects(db.tx(async (tx) => {
    const [client] = await acquired
    const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid')
    const noticed = once(client, 'error')
    await sql('select pg_terminate_backend($1)', [row?.pid])
    await noticed
    await tx.query('select 1')
  }), UNAVAILABLE)

  t.ok(await pidOf(db))
})

test('a refusal after the connection broke is not taken for a sound connection', async (t) => {
  const { db } = await build(t, ONE)
  let before: number | undefined
  await t.rejects(db.tx(async (tx) => {
    const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid')
    before = row?.pid
    await sql('select pg_terminate_backend($1)', [before])
    throw new NotFound()
  }), UNAVAILABLE)

  t.not(await pidOf(db), before)
})

test('a silent server is answered for with 503 within 3 s, and 1 000 statements after its return all succeed', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ...HURRIED, DATABASE_URL: proxy.url })
  const used = await pids(app)
  await proxy.set('swallow')
  const startedAt = performance.now()
  const answers = await Promise.all(Array.from({ length: 30 }, () => post(app, '/auth/login', ACCOUNT)))
  const tookMs = Math.round(performance.now() - startedAt)

  t.ok(tookMs <= 3000, `answered in ${tookMs} ms`)
  t.same([...new Set(answers.map(({ statusCode, headers }) => `${statusCode} ${headers['retry-after']}`))], ['503 1'])
  t.equal(app.breakers.stateOf('database'), 'open')
  await proxy.set('pass')
  const backMs = await eventually(() => app.breakers.stateOf('database') === 'closed')
  t.ok(backMs <= 5000, `back after ${backMs} ms`)
  await Promise.all(used.map(async () => { for (let i = 0; i < 100; i++) await app.db.query('select $1::int', [i]) }))
  t.same((await pids(app)).filter((pid) => used.includes(pid)), [], 'no connection of before')
})

test('where one connection has fallen silent, no request meets another', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ...HURRIED, DATABASE_URL: proxy.url })
  const used = await pids(app)
  proxy.forget()
  await t.rejects(app.db.query('select 1'), UNAVAILABLE)

  const now = await pids(app)
  t.same(now.filter((pid) => used.includes(pid)), [])
  t.equal(new Set(now).size, app.config.DB_POOL_SIZE)
  t.same((await pids(app)).sort(), now.sort(), 'those of after that are kept')
})

test('after an outage that none but the checks met, no request meets a connection of before', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ...HURRIED, DATABASE_URL: proxy.url })
  const used = await pids(app)
  proxy.forget()
  await eventually(() => app.db.lastOutage() !== undefined, 10_000)

  t.same((await pids(app)).filter((pid) => used.includes(pid)), [])
})

test('nor one that has only ever been refused something', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const { db } = await build(t, { ...HURRIED, ...ONE, DATABASE_URL: proxy.url })
  await t.rejects(db.query('select pg_backend_pid() / 0'), { code: '22012' })
  const before = await sql("select pid from pg_stat_activity where datname = current_database() and application_name = 'microts'")
  proxy.forget()
  await eventually(() => db.lastOutage() !== undefined, 10_000)

  t.not(await pidOf(db), before[0]!.pid)
  t.equal(before.length, 1)
})

test('a server that is away is answered for with 503 at once, and good again at its return', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ...HURRIED, DATABASE_URL: proxy.url })
  const { email } = await signUp(app)
  await proxy.set('refuse')
  const startedAt = performance.now()
  const response = await post(app, '/auth/login', ACCOUNT)
  const tookMs = performance.now() - startedAt

  t.equal(response.statusCode, 503)
  t.match(response.headers['content-type'], /^application\/problem\+json/)
  t.match(response.json(), { code: 'SERVICE_UNAVAILABLE' })
  t.equal(response.headers['retry-after'], '1')
  t.notMatch(response.body, /127\.0\.0\.1|ECONNREFUSED|postgres/)
  t.ok(tookMs < 1000, `answered in ${tookMs} ms`)
  await proxy.set('pass')
  t.equal((await post(app, '/auth/login', { ...ACCOUNT, email })).statusCode, 200)
})

test('an answer that is slow is waited for, one that is too slow is not', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const { db } = await build(t, { ...HURRIED, DATABASE_URL: proxy.url, DB_QUERY_TIMEOUT: '900' })
  await db.query('select 1')
  await proxy.set('delay', 100)
  t.same(await db.query('select 2 as value'), [{ value: 2 }])
  await proxy.set('delay', 600)
  await t.rejects(db.query('select 3'), UNAVAILABLE)
})

test('the last outage is remembered from its first failure to the first success after it', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const { db } = await build(t, { ...HURRIED, DATABASE_URL: proxy.url })
  t.equal(db.lastOutage(), undefined)
  const failedAt = performance.now()
  await proxy.set('reset')
  for (let i = 0; i < 3; i++) await t.rejects(db.query('select 1'), UNAVAILABLE)
  t.equal(db.lastOutage(), undefined, 'it has not ended')
  const endedAt = performance.now()
  await proxy.set('pass')
  await db.query('select 1')

  const { startedAgoMs = 0, endedAgoMs = 0 } = db.lastOutage() ?? {}
  const now = performance.now()
  t.ok(endedAgoMs >= 0 && endedAgoMs <= now - endedAt)
  t.ok(startedAgoMs >= endedAgoMs && startedAgoMs <= now - failedAt)
})

test('closing does not wait for a silent server', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { ...HURRIED, DATABASE_URL: proxy.url })
  await pids(app)
  await proxy.set('swallow')
  const startedAt = performance.now()
  await app.close()

  const tookMs = performance.now() - startedAt
  t.ok(tookMs < 3000, `closed in ${tookMs} ms`)
})

test('errors are told apart by what they say of the connection', async (t) => {
  const failure = (code: string | undefined, severity: string | undefined) => Object.assign(new Error('failed'), { code, severity })
  const table = [
    // code, severity, trouble, broken, passing
    ['23505', 'ERROR', false, false, false],
    ['23503', 'ERROR', false, false, false],
    ['22P02', 'ERROR', false, false, false],
    ['42601', 'ERROR', false, false, false],
    ['40001', 'ERROR', false, false, true],
    ['40P01', 'ERROR', false, false, true],
    ['0A000', 'ERROR', false, true, true],
    ['25006', 'ERROR', true, true, false],
    ['42P01', 'ERROR', true, false, false],
    ['42703', 'ERROR', true, false, false],
    ['53100', 'ERROR', true, false, false],
    ['54000', 'ERROR', true, false, false],
    ['55P03', 'ERROR', true, false, false],
    ['57014', 'ERROR', true, false, false],
    ['58030', 'ERROR', true, false, false],
    ['XX000', 'ERROR', true, false, false],
    ['57P01', 'FATAL', true, true, false],
    ['57P01', 'ВАЖНО', true, true, false],
    ['57P03', 'FATALE', true, true, false],
    ['25P04', 'ВАЖНО', true, true, false],
    ['53300', '致命错误', true, true, false],
    ['08P01', 'ВАЖНО', true, true, false],
    ['28P01', 'ВАЖНО', true, true, false],
    ['3D000', 'ВАЖНО', true, true, false],
    ['57014', 'ОШИБКА', true, false, false],
    ['23505', 'ОШИБКА', false, false, false],
    ['57P03', 'FATAL', true, true, false],
    ['25P03', 'FATAL', true, true, false],
    ['53300', 'FATAL', true, true, false],
    ['XX000', 'PANIC', true, true, false],
    ['ECONNRESET', undefined, true, true, false],
    [undefined, undefined, true, true, false]
  ] as const
  for (const [code, severity, ...expected] of table) {
    const error = failure(code, severity)
    t.same([isTrouble(error), isBroken(error), isPassing(error)], expected, `${code} ${severity}`)
  }
  t.same([isTrouble(new NotFound()), isBroken(new NotFound()), isPassing(new NotFound())], [false, false, false], 'a refusal of ours')
  t.same([isTrouble(new TypeError()), isBroken(new TypeError()), isPassing(new TypeError())], [false, true, false], 'a mistake of ours')
})

async function pidOf (db: FastifyInstance['db']) {
  const [row] = await db.query<{ pid: number }>('select pg_backend_pid() as pid')
  return row?.pid
}

/** The connections of the whole pool. */
async function pids ({ db, config }: FastifyInstance) {
  return Promise.all(Array.from({ length: config.DB_POOL_SIZE }, () => db.tx(async (tx) => {
    const [row] = await tx.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.1)')
    return row?.pid
  })))
}

test('an outage lasts from the first failure to the first success, and goes on with what fails within the grace after it, for an hour', async (t) => {
  let nowMs = 0
  const { begin, end, last } = createOutages(30_000, () => nowMs)
  const fail = (from: number, to: number) => {
    nowMs = from
    begin()
    nowMs = to
    end()
    return last()
  }
  t.equal(last(), undefined)
  t.same(fail(1000, 3000), { startedAgoMs: 2000, endedAgoMs: 0 })
  t.same(fail(32_000, 33_000), { startedAgoMs: 32_000, endedAgoMs: 0 }, 'reads may be answered while commits are not')
  t.same(fail(63_001, 64_000), { startedAgoMs: 999, endedAgoMs: 0 }, 'later it is another one')
  end()
  for (let at = 90_000; at < 64_000 + 3_600_000; at += 26_000) fail(at, at + 1000)
  nowMs += 20_000
  t.ok(fail(nowMs, nowMs + 1)!.startedAgoMs < 20_000, 'a trickle is no outage for ever')
})

import { getEventListeners } from 'node:events'
import { performance } from 'node:perf_hooks'
import { mock } from 'node:test'
import { test } from 'tap'
import { Cut, untilCut } from '../../../plugins/db/cut.ts'
import { createDb } from '../../../plugins/db/index.ts'
import { ClientLeft } from '../../../plugins/errors.ts'
import { createSlots } from '../../../plugins/slots.ts'
import { build } from '../../helper.ts'

test('what ends within 100 ms after that keeps its connection', async (t) => {
  const { pg: { pool }, breakers } = await build(t, { DB_POOL_SIZE: '1' })
  const request = new AbortController()
  const db = createDb({ pool, checks: pool, breaker: breakers.create('test'), slots: createSlots(1, () => undefined), patienceMs: 1000, graceMs: 0, deadline: () => request.signal })
  const [before] = await db.query('select pg_backend_pid() as pid')
  // The answer is there, but nobody has looked yet.
  pool.once('acquire', () => setImmediate(() => {
    const busyUntil = performance.now() + 50
    while (performance.now() < busyUntil);
    request.abort(new ClientLeft())
  }))
  t.same(await db.query('select pg_backend_pid() as pid'), [before])
  t.ok(request.signal.aborted)
  t.equal(pool.totalCount, 1)
  await t.rejects(db.query('select 1'), new ClientLeft())
  t.equal(getEventListeners(request.signal, 'abort').length, 0)
})

test('what is cut off says nothing of the other connections', async (t) => {
  const { pg: { pool }, breakers } = await build(t, { DB_POOL_SIZE: '2' })
  const request = new AbortController()
  let signal: AbortSignal | undefined
  const db = createDb({ pool, checks: pool, breaker: breakers.create('test'), slots: createSlots(2, () => undefined), patienceMs: 1000, graceMs: 0, deadline: () => signal })
  const pids = () => Promise.all([1, 2].map(() => db.query<{ pid: number }>('select pg_backend_pid() as pid, pg_sleep(0.1)')))
  const before = (await pids()).flat().map(({ pid }) => pid)
  signal = request.signal
  pool.once('acquire', () => setImmediate(() => request.abort(new ClientLeft())))
  await t.rejects(db.query('select pg_sleep(5)'), new ClientLeft())
  signal = undefined
  t.equal((await pids()).flat().filter(({ pid }) => before.includes(pid)).length, 1)
})

test('it is cut 100 ms after the signal, and not at all without one', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const [request, quick, slow] = [new AbortController(), Promise.withResolvers<string>(), Promise.withResolvers<string>()]
  const works = [untilCut(quick.promise, request.signal), untilCut(slow.promise, request.signal), untilCut(slow.promise, undefined)]
  request.abort(new ClientLeft())
  mock.timers.tick(99)
  quick.resolve('quick')
  t.equal(await works[0], 'quick')
  mock.timers.tick(1)
  const error = await works[1]!.catch((error: unknown) => error)
  t.type(error, Cut)
  t.match(error, { cause: new ClientLeft() })
  slow.resolve('slow')
  t.equal(await works[2], 'slow')
  t.equal(getEventListeners(request.signal, 'abort').length, 0)
  await t.rejects(untilCut(Promise.reject(new Error('failed')), new AbortController().signal), { message: 'failed' })
})

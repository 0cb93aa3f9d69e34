import { performance } from 'node:perf_hooks'
import { setImmediate as turnEnd } from 'node:timers/promises'
import { test } from 'tap'
import { build, HURRIED, logIn, post, signUp, sql } from '../../helper.ts'
import { isProblem } from '../../problem.ts'
import { lock, waitFor } from '../db/locks.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

/** An account with so many sessions: the first token of each. */
async function sessions (t: Test, count: number, env = {}) {
  const app = await build(t, env)
  const { email, refreshToken } = await signUp(app)
  const others = await Promise.all(Array.from({ length: count - 1 }, () => logIn(app, email)))
  return { app, tokens: [refreshToken, ...others.map((other) => other.refreshToken)] }
}

const rotate = async (app: FastifyInstance, token: string) => app.sessions.rotate(app.sessions.claimOf(token))
const generationOf = (app: FastifyInstance, token: string) => app.sessions.claimOf(token).generation
const idOf = (app: FastifyInstance, token: string) => app.sessions.claimOf(token).sessionId

/** What is asked of PostgreSQL from now on. */
function watch (t: Test, { db }: FastifyInstance) {
  const { query } = db
  const asked: unknown[] = []
  t.teardown(() => { db.query = query })
  db.query = (...statement) => {
    asked.push(statement)
    return query(...statement)
  }
  return asked
}

test('what is refreshed at a time is one statement, and each gets its own successor', async (t) => {
  const { app, tokens } = await sessions(t, 5)
  const asked = watch(t, app)
  const refreshed = await Promise.all(tokens.map((token) => rotate(app, token)))

  t.equal(asked.length, 1)
  const successors = refreshed.map(({ refreshToken }) => refreshToken)
  t.same(successors.map((token) => idOf(app, token)), tokens.map((token) => idOf(app, token)))
  t.same(successors.map((token) => generationOf(app, token)), Array(5).fill(1))
})

test('while four such statements are under way, all that come meanwhile are the next one', async (t) => {
  const { app, tokens } = await sessions(t, 9)
  const asked = watch(t, app)
  const unlock = await lock(t, 'lock table sessions')
  const refreshed = []
  for (const token of tokens) {
    refreshed.push(rotate(app, token))
    await turnEnd()
  }
  await waitFor(4)
  await unlock()
  t.same((await Promise.all(refreshed)).map(({ refreshToken }) => generationOf(app, refreshToken)), Array(9).fill(1))
  t.equal(asked.length, 5)
})

test('who waits for one of them is told so as soon as who waits for a connection, and none joins him', async (t) => {
  const { app, tokens } = await sessions(t, 6, { DB_CONNECT_TIMEOUT: '1500' })
  const unlock = await lock(t, 'lock table sessions')
  const refreshed = []
  for (const token of tokens.slice(0, 4)) {
    refreshed.push(rotate(app, token))
    await turnEnd()
  }
  await waitFor(4)
  await t.rejects(rotate(app, tokens[4]!), { code: 'SERVICE_UNAVAILABLE', reason: 'no slot was free within 1500 ms' })
  const last = rotate(app, tokens[5]!)
  await unlock()
  t.same((await Promise.all([...refreshed, last])).map(({ refreshToken }) => generationOf(app, refreshToken)), Array(5).fill(1))
})

test('a batch whose connection breaks fails as a whole, and what comes after it does not', async (t) => {
  const { app, tokens } = await sessions(t, 3)
  const unlock = await lock(t, 'lock table sessions')
  const refreshed = Promise.allSettled(tokens.map((token) => rotate(app, token)))
  await waitFor(1)
  await sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'microts' and wait_event_type = 'Lock' and datname = current_database()")
  await unlock()

  t.match(await refreshed, Array(3).fill({ status: 'rejected', reason: { code: 'SERVICE_UNAVAILABLE' } }))
  t.same((await Promise.all(tokens.map((token) => rotate(app, token)))).map(({ refreshToken }) => generationOf(app, refreshToken)), Array(3).fill(1))
})

test('a session that somebody else has locked keeps none waiting but its own client', async (t) => {
  const { app, tokens: [locked, ...others] } = await sessions(t, 4)
  const unlock = await lock(t, 'select from sessions where id = $1 for update', [idOf(app, locked!)])
  const waiting = rotate(app, locked!)
  const refreshed = await Promise.all(others.map((token) => rotate(app, token)))
  t.same(refreshed.map(({ refreshToken }) => generationOf(app, refreshToken)), Array(3).fill(1))

  await waitFor(1)
  await unlock()
  t.equal(generationOf(app, (await waiting).refreshToken), 1)
})

test('a session that stays locked is trouble of ours, told within the time that PostgreSQL has', async (t) => {
  const app = await build(t, HURRIED)
  const { refreshToken } = await signUp(app)
  await lock(t, 'select from sessions where id = $1 for update', [idOf(app, refreshToken)])
  const startedAt = performance.now()
  const answer = await post(app, '/auth/refresh', { refreshToken })
  isProblem(t, answer, 503, 'SERVICE_UNAVAILABLE')
  t.match(answer.headers, { 'retry-after': /^[1-9]/ })
  t.ok(performance.now() - startedAt < 5000)
})

test('of those that come at a time each is judged by its own session', async (t) => {
  const { app, tokens: [current, parent, stolen, revoked, expired, gone] } = await sessions(t, 6)
  await rotate(app, parent!)
  await rotate(app, (await rotate(app, stolen!)).refreshToken)
  await sql('update sessions set revoked_at = now() where id = $1', [idOf(app, revoked!)])
  await sql('update sessions set expires_at = now() where id = $1', [idOf(app, expired!)])
  await sql('delete from sessions where id = $1', [idOf(app, gone!)])

  const refreshed = await Promise.allSettled([current, parent, stolen, revoked, expired, gone, current].map((token) => rotate(app, token!)))
  t.same(refreshed.map((outcome) => outcome.status === 'fulfilled' ? generationOf(app, outcome.value.refreshToken) : outcome.reason.code),
    [1, 1, ...Array(4).fill('INVALID_REFRESH_TOKEN'), 1])
  t.match(await sql('select revoked_reason from sessions where id = $1', [idOf(app, stolen!)]), [{ revoked_reason: 'reuse detected' }])
})

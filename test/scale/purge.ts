import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'tap'
import { PASSWORD, settings, sql } from '../helper.ts'
import { purgeOf, revocations, sessions, type Line } from '../plugins/purge/replica.ts'
import { ready, start } from '../processes.ts'
import { median } from '../timing/statistics.ts'
import { insertRevocations, insertSessions, insertUsers } from './rows.ts'
import { table } from './table.ts'

const ROWS = 100_000
const USERS = 20_000
const ROUNDS = 3
const CALM_MS = 6000
const CLIENT = 'the client whose sessions live'
const LEFT = "select id::text from sessions where user_agent <> $1 union all select id::text from revocations where at < now() - interval '2 hours'"

test('how long a purge takes, and what it does to logins and refreshes', async (t) => {
  const address = await ready(start(t, 'server.ts', [], { ...settings, ARGON2_MEMORY: undefined, ARGON2_TIME: undefined, PORT: '0', LOG_LEVEL: 'info' }))
  const email = 'ada@example.com'
  const { refreshToken } = await ask(address, '/auth/register', { email, password: PASSWORD })
  const client = { address, email, refreshToken }
  const [calm, during] = [timesOf(), timesOf()]
  await insertUsers(USERS)
  for (let round = 0; round < ROUNDS; round++) {
    await fill()
    await watch(client, delay(CALM_MS), calm)
    const lines: Line[] = []
    await watch(client, purgeOf(t, { lines, rules: [sessions, revocations] }).round(), during)
    table(t, ['purged', 'rows', 'ms'], lines.map(({ msg, rows, tookMs }) => [msg, Number(rows), Number(tookMs)]))
    t.same(await sql(LEFT, [CLIENT]), [], 'nothing is left')
  }
  table(t, ['ms', 'calm', 'during a purge', 'ratio'], (['login', 'refresh'] as const).flatMap((what) => [
    [`${what}, median`, ...compare(median, calm[what], during[what])],
    [`${what}, 95 of 100 within`, ...compare(slow, calm[what], during[what])]
  ]))
})

async function fill () {
  await insertSessions(ROWS / USERS)
  await sql("update sessions set revoked_at = now() - interval '2 days' * (1 + random()) where user_agent <> $1", [CLIENT])
  await insertRevocations(ROWS, '2 hours')
  await sql('vacuum analyze')
}

const timesOf = () => ({ login: [] as number[], refresh: [] as number[] })

/** Logs in and refreshes, by turns, until the work is done, and notes how long each took. */
async function watch (client: { address: string, email: string, refreshToken: string }, work: Promise<unknown>, times: ReturnType<typeof timesOf>) {
  const working = { isDone: false }
  const done = work.finally(() => { working.isDone = true })
  while (!working.isDone) {
    const startedAt = performance.now()
    await ask(client.address, '/auth/login', { email: client.email, password: PASSWORD })
    const loggedInAt = performance.now()
    client.refreshToken = (await ask(client.address, '/auth/refresh', { refreshToken: client.refreshToken })).refreshToken
    times.login.push(loggedInAt - startedAt)
    times.refresh.push(performance.now() - loggedInAt)
  }
  await done
}

async function ask (address: string, path: string, body: object): Promise<{ refreshToken: string }> {
  const response = await fetch(`${address}${path}`, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', 'user-agent': CLIENT } })
  if (!response.ok) throw new Error(`${path} answered ${response.status} ${await response.text()}`)
  return await response.json() as { refreshToken: string }
}

const slow = (times: number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.95)]!

function compare (measure: (times: number[]) => number, calm: number[], during: number[]) {
  const [before, then] = [measure(calm), measure(during)]
  return [before.toFixed(1), then.toFixed(1), (then / before).toFixed(2)]
}

import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import argon2 from 'argon2'
import { eventually } from '../../eventually.ts'
import { PASSWORD } from '../../helper.ts'
import { preload, ready } from '../../processes.ts'
import { createClient } from './client.ts'
import { createDatabase, type Database } from './database.ts'
import { startLoad } from './load.ts'
import { count, ending, startServer } from './server.ts'
import type { Row } from '../row.ts'
import type { Test } from 'tap'

type Case = { signal: NodeJS.Signals, code: number, complaints: number, nodeArgs?: string[] }

const CLIENTS = 10
const DELAY_MS = 1000
// Whoever connects in the last moment may find the door closed.
const MARGIN_MS = 100
const SLOW = { memoryCost: 32_768, timeCost: 90 }
const FAILING = preload("process.on('SIGWINCH', () => { throw new Error('nobody caught this') })")

const drain = ({ signal, code, complaints, nodeArgs }: Case) => async (t: Test) => {
  const database = await createDatabase(t)
  const server = startServer(t, database.url, { SHUTDOWN_DELAY: String(DELAY_MS), HASH_CONCURRENCY: '2' }, nodeArgs)
  const origin = await ready(server)
  const ask = createClient(t)
  const credentials = await slowAccount(database, (body) => ask(origin, { method: 'POST', path: '/auth/register', body }))
  const load = startLoad(t, origin, CLIENTS)
  const startedAt = performance.now()
  await load.flow(200)
  const slowSentAt = performance.now()
  const slow = ask(origin, { method: 'POST', path: '/auth/login', body: credentials })
  await load.flow(20)
  const stoppedAt = performance.now()
  const rate = load.samples.length / (stoppedAt - startedAt) * 1000
  const ended = ending(server, signal)
  const unreadyMs = await eventually(async () => (await ask(origin, { path: '/ready' })).status === 503)
  const unreadyAt = performance.now()
  const { status: slowStatus, connection } = await slow
  const slowSeconds = (performance.now() - slowSentAt) / 1000
  const end = await ended
  await load.stop()

  const due = load.samples.filter(({ sentAt }) => sentAt < stoppedAt + DELAY_MS - MARGIN_MS)
  const failed = due.filter(({ isGood }) => !isGood)
  const late = load.samples.slice(due.length).filter(({ status, isGood }) => typeof status === 'number' && !isGood)
  const kept = load.samples.filter((sample) => sample.sentAt > unreadyAt && sample.connection !== undefined && sample.connection !== 'close')
  const isSlowGood = slowStatus === 200 && connection === 'close' && slowSeconds * 1000 > DELAY_MS
  return {
    measured: [
      `${count(due.length)} requests at ${Math.round(rate)}/s, ${failed.length} failed`,
      `unready after ${unreadyMs} ms`,
      `a login of ${slowSeconds.toFixed(1)} s ends with ${slowStatus}`,
      `exit ${end.code} after ${end.seconds.toFixed(1)} s`
    ].join('; '),
    isKept: failed.length + late.length + kept.length === 0 && isSlowGood && end.code === code && end.complaints.length === complaints && unreadyMs < DELAY_MS,
    evidence: { failed: failed.slice(0, 5), late: late.slice(0, 5), kept: kept.slice(0, 5), slowStatus, connection, end }
  }
}

/** One whose password takes seconds to verify, while all others take no time. */
async function slowAccount ({ sql }: Database, register: (credentials: object) => Promise<unknown>) {
  const credentials = { email: `slow-${randomUUID()}@example.com`, password: PASSWORD }
  const [hash] = await Promise.all([argon2.hash(PASSWORD, { ...SLOW, parallelism: 1 }), register(credentials)])
  await sql('update users set password_hash = $1 where email = $2', [hash, credentials.email])
  return credentials
}

export const draining: Row[] = [{
  fault: 'SIGTERM under load over keep-alive connections',
  promise: 'all that came before it stopped listening is answered, each with Connection: close; exit 0, nothing logged as an error',
  endure: drain({ signal: 'SIGTERM', code: 0, complaints: 0 })
}, {
  fault: 'an exception nobody caught, under the same load',
  promise: 'logged once, the same end, exit 1',
  endure: drain({ signal: 'SIGWINCH', code: 1, complaints: 1, nodeArgs: FAILING })
}]

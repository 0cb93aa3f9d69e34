import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { ready } from '../../processes.ts'
import { createDatabase } from './database.ts'
import { count, startServer } from './server.ts'
import { judge } from './truth.ts'
import { createWriters } from './writes.ts'
import type { Row } from '../row.ts'

const ROUNDS = 20
const CLIENTS = 8
const MORE_WRITES = 4
const WRITE_MS = 50
const OURS = "select from pg_stat_activity where datname = current_database() and application_name like 'microts%'"

export const serviceKills: Row = {
  fault: `SIGKILL of the service under mixed writes, ${ROUNDS} times`,
  promise: 'what was acknowledged is there, nothing is half done, ready again within 5 s',
  async endure (t) {
    const database = await createDatabase(t)
    const writers = createWriters(t, CLIENTS, () => false)
    const [wrong, readyMs]: [object[], number[]] = [writers.wrong, []]
    let [inDoubt, refreshed] = [0, 0]
    for (let i = 0; i <= ROUNDS; i++) {
      const startedAt = performance.now()
      const server = startServer(t, database.url, { SESSION_LIMIT: '10000' })
      const origin = await ready(server)
      readyMs.push(performance.now() - startedAt)
      refreshed += await writers.verify(origin)
      if (i === ROUNDS) break
      const writing = writers.write(origin)
      await Promise.race([writers.acknowledged(i * MORE_WRITES), writing])
      await delay(Math.random() * WRITE_MS)
      server.child.kill('SIGKILL')
      await Promise.all([writing, server.ended])
      // What was sent to PostgreSQL before is still done, or rolled back.
      await eventually(async () => (await database.sql(OURS)).length === 0)
      const judged = await judge(database, writers.lives)
      wrong.push(...judged.wrong)
      inDoubt += judged.inDoubt
    }

    const medianMs = readyMs.sort((a, b) => a - b)[ROUNDS / 2]!
    return {
      measured: [
        `${count(writers.told.acknowledged)} writes acknowledged, ${inDoubt} in doubt, ${wrong.length} lost or half done`,
        `${refreshed} refreshes after it`,
        `ready after ${(medianMs / 1000).toFixed(1)} s (median)`
      ].join('; '),
      isKept: wrong.length === 0 && writers.told.acknowledged > 100 && medianMs < 5000,
      evidence: wrong.slice(0, 5)
    }
  }
}

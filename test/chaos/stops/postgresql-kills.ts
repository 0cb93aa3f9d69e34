import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { PASSWORD } from '../../helper.ts'
import { ready } from '../../processes.ts'
import { startDurable } from './postgresql.ts'
import { count, range, startServer } from './server.ts'
import { judge } from './truth.ts'
import { createWriters } from './writes.ts'
import type { Row } from '../row.ts'

const CLIENTS = 8
const WRITES = 100
const WRITE_MS = 50
const PAUSE_MS = 20
const CALM_MS = 1000
// Nothing, until breakers open, until readiness falls.
const AWAY_MS = [0, 1500, 4000]

export const postgresqlKills: Row = {
  fault: `SIGKILL of PostgreSQL and all its children under mixed writes, ${AWAY_MS.length} times`,
  promise: 'what was acknowledged is there, nothing is half done; without a restart the service is back within 5 s; no 401 and no 500 meanwhile',
  async endure (t) {
    const database = await startDurable(t)
    const server = startServer(t, database.url, { SESSION_LIMIT: '10000' })      // the watcher logs in again and again
    const origin = await ready(server)
    const writers = createWriters(t, CLIENTS, (status) => status === 503)
    const { ask, wrong } = writers
    const credentials = { email: 'watch@example.com', password: PASSWORD }
    const { body: { accessToken: token } } = await ask(origin, { method: 'POST', path: '/auth/register', body: credentials })
    const statuses = async () => Promise.all([
      ask(origin, { path: '/me', token }), ask(origin, { path: '/me/sessions', token }), ask(origin, { method: 'POST', path: '/auth/login', body: credentials })
    ]).then((answers) => answers.map(({ status }) => status))
    const [backSeconds, seen]: [number[], number[]] = [[], []]
    let inDoubt = 0
    for (const awayMs of AWAY_MS) {
      const writing = writers.write(origin)
      await Promise.race([writers.acknowledged(WRITES), writing])
      await delay(Math.random() * WRITE_MS)
      await database.kill()
      await writing
      const away = delay(awayMs, 'over')
      while (await Promise.race([away, delay(PAUSE_MS)]) !== 'over') seen.push(...await statuses())
      const restarting = database.restart()
      await eventually(() => database.sql('select').then(() => true, () => false), 30_000)
      const acceptingAt = performance.now()
      let goodAt = Infinity
      await eventually(async () => {
        const askedAt = performance.now()
        const now = [...await statuses(), (await ask(origin, { path: '/ready' })).status]
        seen.push(...now)
        goodAt = now.every((status) => status === 200) ? Math.min(goodAt, performance.now()) : Infinity
        return askedAt - goodAt > CALM_MS
      }, 30_000)
      backSeconds.push((goodAt - acceptingAt) / 1000)
      await restarting
      const judged = await judge(database, writers.lives)
      wrong.push(...judged.wrong)
      inDoubt += judged.inDoubt
      await writers.verify(origin)
    }

    const odd = seen.filter((status) => status !== 200 && status !== 503)
    return {
      measured: [
        `${count(writers.told.acknowledged)} writes acknowledged, ${inDoubt} in doubt, ${wrong.length} lost or half done`,
        `back after ${range(backSeconds)} s`,
        `${count(seen.length)} requests meanwhile, ${odd.length} neither 200 nor 503`
      ].join('; '),
      isKept: wrong.length === 0 && odd.length === 0 && writers.told.acknowledged > 100 && Math.max(...backSeconds) < 5 && server.child.exitCode === null,
      evidence: { wrong: wrong.slice(0, 5), odd: odd.slice(0, 5) }
    }
  }
}

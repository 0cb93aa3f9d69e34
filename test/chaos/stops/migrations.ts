import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { migrate } from '../../../plugins/migrations.ts'
import { eventually } from '../../eventually.ts'
import { ready } from '../../processes.ts'
import { createDatabase, type Database } from './database.ts'
import { ending, isInOrder, range, startServer, type Server } from './server.ts'
import type { Row } from '../row.ts'
import type { Test } from 'tap'

type Situation = { what: string, begin: (database: Database) => Promise<unknown>, hold: string, release: string, isStuck: (database: Database, server: Server) => Promise<boolean> }

const LOCK = 7241865325823964n      // the library's
const OURS = "select from pg_stat_activity where datname = current_database() and application_name = 'microts migrate'"
const log = { debug () {}, warn () {} }
const names = readdirSync(join(import.meta.dirname, '../../../migrations')).map((file) => file.replace(/\.\w+$/, '')).sort()
const isBlocked = async ({ sql }: Database) => (await sql(`${OURS} and wait_event_type = 'Lock'`)).length > 0

/** What somebody else does, so that a migration cannot go on. */
const situations: Situation[] = [{
  what: 'waits for another process that migrates',
  begin: async () => {},
  hold: `select pg_advisory_lock(${LOCK})`,
  release: `select pg_advisory_unlock(${LOCK})`,
  isStuck: async (database, server) => server.stdout.includes('migration lock')
}, {
  what: 'waits for a table',
  begin: async () => {},
  hold: 'begin; create table users ()',
  release: 'rollback',
  isStuck: isBlocked
}, {
  what: 'builds an index',
  begin: migrateToTheFirst,
  hold: 'begin; lock table sessions in row exclusive mode',
  release: 'rollback',
  isStuck: isBlocked
}]

async function migrateToTheFirst ({ url, sql }: Database) {
  await migrate({ databaseUrl: url, direction: 'up', log })
  while ((await sql('select from pgmigrations')).length > 1) await migrate({ databaseUrl: url, direction: 'down', log })
}

async function stop (t: Test, { begin, hold, release, isStuck }: Situation) {
  const database = await createDatabase(t)
  await begin(database)
  const other = await database.connect(t)
  await other.query(hold)
  const env = { MIGRATE_ON_START: 'true' }
  const first = startServer(t, database.url, { ...env, LOG_LEVEL: 'debug' })
  await eventually(() => isStuck(database, first), 30_000)
  const end = await ending(first)
  const freeMs = await eventually(async () => (await database.sql(OURS)).length === 0)

  const second = startServer(t, database.url, env)
  await other.query(release)
  await ready(second)
  const [done, halves] = await Promise.all([
    database.sql<{ name: string }>('select name from pgmigrations order by id'),
    database.sql('select indexrelid::regclass from pg_index where not indisvalid')
  ])
  const isWhole = done.map(({ name }) => name).join() === names.join() && halves.length === 0
  return { end, freeMs, isWhole }
}

export const migrations: Row = {
  fault: `SIGTERM while a migration at the start ${situations.map(({ what }) => what).join(', or ')}`,
  promise: 'exit 0 within 5 s, no lock left 2 s later, and the next process migrates',
  async endure (t) {
    const outcomes = await Promise.all(situations.map((situation) => stop(t, situation)))
    return {
      measured: [
        `exit ${outcomes.map(({ end }) => end.code).join()} after ${range(outcomes.map(({ end }) => end.seconds))} s, locks free ${range(outcomes.map(({ freeMs }) => freeMs), 0)} ms later`,
        `${outcomes.filter(({ isWhole }) => isWhole).length} of 3 migrated by the next`
      ].join('; '),
      isKept: outcomes.every(({ end, freeMs, isWhole }) => isInOrder(end) && end.seconds < 5 && freeMs < 2000 && isWhole),
      evidence: outcomes
    }
  }
}

import pg from 'pg'
import { eventually } from '../../eventually.ts'
import { databaseUrl, sql } from '../../helper.ts'
import type { Test } from 'tap'

/** Locks what this statement locks until it is told to let go or to commit, or the test ends. */
export async function lock (t: Test, statement: string, values: unknown[] = []) {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  const unlock = () => client.end()
  t.teardown(unlock)
  await client.query('begin')
  await client.query(statement, values)
  return Object.assign(unlock, { commit: () => client.query('commit') })
}

/** How many statements of the service wait for a lock. */
async function waiting () {
  const [row] = await sql<{ count: number }>(`
    select count(*)::int from pg_stat_activity
    where datname = current_database() and application_name = 'microts' and wait_event_type = 'Lock'`)
  return row!.count
}

/** Fulfilled when so many wait: how long that took, in ms. */
export const waitFor = (count: number, withinMs?: number) => eventually(async () => await waiting() === count, withinMs)

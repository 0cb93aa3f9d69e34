import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Test } from 'tap'

export type Database = ReturnType<typeof open>

/** An empty database for one row alone, gone when the test ends. */
export async function createDatabase (t: Test) {
  const admin = process.env.TEST_DATABASE_URL
  const name = `stops_${randomBytes(6).toString('hex')}`
  await query(admin, `create database ${name}`)
  t.teardown(() => query(admin, `drop database ${name} with (force)`))
  return open(Object.assign(new URL(admin!), { pathname: `/${name}` }).href)
}

export function open (url: string) {
  return {
    url,
    sql: <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) => query<Row>(url, text, values),

    /** A session that stays as long as the test. */
    async connect (t: Test) {
      const client = new pg.Client(url)
      client.on('error', () => {})      // the database may go before it
      await client.connect()
      t.teardown(() => client.end())
      return client
    }
  }
}

async function query<Row extends pg.QueryResultRow> (url: string | undefined, text: string, values?: unknown[]) {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}

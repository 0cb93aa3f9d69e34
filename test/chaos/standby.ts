import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg, { type QueryResultRow } from 'pg'
import { eventually } from '../eventually.ts'
import { giveTo, serverOwner } from '../../plugins/db/embedded-binaries.ts'
import { startEmbedded } from '../../plugins/db/embedded.ts'
import type { Test } from 'tap'

/** A PostgreSQL and its hot standby, which began as a copy of it and follows it by streaming replication. */
export async function startPair (t: Test) {
  const [primaryFolder, standbyFolder] = await Promise.all([temporaryFolder(t, 'primary'), temporaryFolder(t, 'standby')])
  const first = await startEmbedded({ folder: primaryFolder, durable: false })
  await first.stop()
  await cp(primaryFolder, standbyFolder, { recursive: true, verbatimSymlinks: true })
  const primary = await startEmbedded({ folder: primaryFolder, durable: false })
  t.teardown(primary.stop)

  const { port, username, password } = new URL(primary.url)
  const data = join(standbyFolder, 'data')
  await writeFile(join(data, 'postgresql.auto.conf'), `primary_conninfo = 'host=127.0.0.1 port=${port} user=${username} password=${password} sslmode=disable'\n`)
  await writeFile(join(data, 'standby.signal'), '')
  await giveTo(await serverOwner(), standbyFolder)
  const standby = await startEmbedded({ folder: standbyFolder, durable: false })
  t.teardown(standby.stop)
  const query = sqlAt(standby.url)
  await eventually(async () => (await query('select from pg_stat_wal_receiver where status = \'streaming\'')).length === 1)

  return {
    primary,
    standby: {
      ...standby,
      query,
      /** Receives what is written, but is not changed by it. */
      fallBehind: () => query('select pg_wal_replay_pause()'),
      catchUp: () => query('select pg_wal_replay_resume()'),
      promote: () => query('select pg_promote()')
    }
  }
}

function sqlAt (connectionString: string) {
  return async function query<Row extends QueryResultRow> (text: string, values?: unknown[]) {
    const client = new pg.Client({ connectionString })
    await client.connect()
    try {
      return (await client.query<Row>(text, values)).rows
    } finally {
      await client.end()
    }
  }
}

async function temporaryFolder (t: Test, name: string) {
  const folder = await mkdtemp(join(tmpdir(), `${name}-`))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

import pg from 'pg'
import type { Config } from '../config/index.ts'

const READ_DEADLINE_MS = 300
// Short, so that an attempt that began while the server was silent does not hold up the next one for long.
const CONNECT_DEADLINE_MS = 500
const WHOLE_TABLE = '0'

// Every transaction below xmin has ended and is visible, so that the next read misses none, however late it commits.
const READ = {
  name: 'revocations',
  text: `
    select pg_snapshot_xmin(pg_current_snapshot())::text as next, pg_is_in_recovery() as recovering,
           pg_postmaster_start_time()::text as started,
           array(select session_id::text from revocations where xid >= $1::xid8 order by id) as ids`
}
type Answer = { next: string, recovering: boolean, started: string, ids: string[] }

/** Reads what was revoked since the last read, over a connection of its own. A new connection or server reads the whole table. */
export function createFeed (config: Pick<Config, 'DATABASE_URL' | 'DB_CONNECT_TIMEOUT' | 'DB_QUERY_TIMEOUT'>) {
  let client: pg.Client | undefined
  let cursor = WHOLE_TABLE
  let server: string | undefined

  return { read, close }

  async function read (): Promise<string[]> {
    try {
      const { next, recovering, started, ids } = await ask(client ?? await connect())
      if (recovering) throw new Error('the database is a standby, which may lag')
      const isSameServer = server === started
      server = started
      if (!isSameServer && cursor !== WHOLE_TABLE) {      // behind a pooler a connection outlives its server
        cursor = WHOLE_TABLE
        return await read()
      }
      cursor = next
      return ids
    } catch (error) {
      close()
      throw error
    }
  }

  async function ask (client: pg.Client) {
    const deadline = cursor === WHOLE_TABLE ? config.DB_QUERY_TIMEOUT : READ_DEADLINE_MS
    const { rows } = await client.query<Answer>(Object.assign({ query_timeout: deadline, values: [cursor] }, READ))
    return rows[0]!      // it has no FROM
  }

  async function connect () {
    const fresh = new pg.Client({
      connectionString: config.DATABASE_URL,
      application_name: 'microts revocations',
      connectionTimeoutMillis: Math.min(config.DB_CONNECT_TIMEOUT, CONNECT_DEADLINE_MS),
      statement_timeout: config.DB_QUERY_TIMEOUT,
      keepAlive: true
    })
    fresh.on('error', () => { if (client === fresh) close() })
    client = fresh
    await fresh.connect()
    return fresh
  }

  // No good-bye to a server that may be silent; end() would also leave a connect() pending for ever.
  function close () {
    client?.connection.stream.destroy()
    client = undefined
    cursor = WHOLE_TABLE
  }
}

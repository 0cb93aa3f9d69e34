import pg from 'pg'
import type { Config } from '../config/index.ts'

const READ_DEADLINE_MS = 300
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
      client ??= await connect()
      const { next, recovering, started, ids } = await ask(client)
      if (recovering) throw new Error('the database is a standby, which may lag')
      const isSameServer = server === started
      server = started
      if (!isSameServer && cursor !== WHOLE_TABLE) {
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

  async function ask (client: pg.Client): Promise<Answer> {
    const deadline = cursor === WHOLE_TABLE ? config.DB_QUERY_TIMEOUT : READ_DEADLINE_MS
    const { rows: [answer] } = await client.query<Answer>(Object.assign({ query_timeout: deadline, values: [cursor] }, READ))
    if (!answer) throw new Error('the feed gave no answer')
    return answer
  }

  async function connect () {
    const fresh = new pg.Client({
      connectionString: config.DATABASE_URL,
      application_name: 'microts revocations',
      connectionTimeoutMillis: config.DB_CONNECT_TIMEOUT,
      keepAlive: true
    })
    fresh.on('error', () => { if (client === fresh) close() })
    await fresh.connect()
    return fresh
  }

  // end() is not awaited: it says good-bye to a server that may be silent.
  function close () {
    client?.end().catch(() => {})
    client = undefined
    cursor = WHOLE_TABLE
  }
}

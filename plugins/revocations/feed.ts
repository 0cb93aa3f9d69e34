import pg from 'pg'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config/index.ts'

const READ_DEADLINE_MS = 300
// Short, so that an attempt that began while the server was silent does not hold up the next one for long.
const CONNECT_DEADLINE_MS = 500
const PAGE = 20_000

// What a snapshot does not show is new to the next read, however late it commits, and that alone, however long another transaction lasts.
const STATE = `
  pg_current_snapshot()::text as next, pg_is_in_recovery() as recovering, pg_postmaster_start_time()::text as started`
const READ_NEWS = {
  name: 'revocations news',
  text: `
    select ${STATE}, array(
      select session_id::text from revocations
      where xid >= pg_snapshot_xmin($1::pg_snapshot) and not pg_visible_in_snapshot(xid, $1::pg_snapshot) order by id
    ) as ids`
}
const READ_PAGE = {
  name: 'revocations page',
  text: `
    with page as (select id, session_id from revocations where id > $1::bigint order by id limit ${PAGE})
    select ${STATE}, array(select session_id::text from page) as ids, (select max(id)::text from page) as last`
}
type News = { next: string, recovering: boolean, started: string, ids: string[] }
type Page = News & { last: string }

/** Reads what was revoked since the last read, over a connection of its own. A new connection or server reads the whole table. */
export function createFeed (config: Pick<Config, 'DATABASE_URL' | 'DB_CONNECT_TIMEOUT' | 'DB_QUERY_TIMEOUT'>, within: FastifyInstance['within']) {
  let client: pg.Client | undefined
  let cursor: string | undefined      // none before the whole table has been read
  let server: string | undefined
  let isStopped = false

  return { read, stop }

  async function read (): Promise<string[]> {
    if (isStopped) throw new Error('the feed has been stopped')
    try {
      const connection = client ?? await connect()
      return await readNews(connection) ?? await readWhole(connection)
    } catch (error) {
      close()
      throw error
    }
  }

  /** Undefined where there is no cursor, or it is another server's: behind a pooler a connection outlives its server. */
  async function readNews (connection: pg.Client) {
    if (!cursor) return undefined
    const { next, started, ids } = await ask<News>(connection, READ_NEWS, cursor, READ_DEADLINE_MS)
    if (started !== server) return undefined
    cursor = next
    return ids
  }

  // In pages, since there may be more than one deadline allows. What commits meanwhile is not in the snapshot of the first.
  async function readWhole (connection: pg.Client) {
    const pages = [await ask<Page>(connection, READ_PAGE, '0', config.DB_QUERY_TIMEOUT)]
    const [{ next, started }] = pages as [Page]
    for (let page = pages[0]!; page.ids.length === PAGE;) {
      page = await ask<Page>(connection, READ_PAGE, page.last, config.DB_QUERY_TIMEOUT)
      if (page.started !== started) throw new Error('the database was replaced by another one')
      pages.push(page)
    }
    cursor = next
    server = started
    return pages.flatMap(({ ids }) => ids)
  }

  async function ask<Answer extends News> (connection: pg.Client, statement: typeof READ_NEWS, from: string, deadlineMs: number) {
    const { rows } = await within(deadlineMs, connection.query<Answer>({ ...statement, values: [from] }))
    const answer = rows[0]!      // it has no FROM
    if (answer.recovering) throw new Error('the database is a standby, which may lag')
    return answer
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

  function stop () {
    isStopped = true
    close()
  }

  // No good-bye to a server that may be silent; end() would also leave a connect() pending for ever.
  function close () {
    client?.connection.stream.destroy()
    client = undefined
    cursor = undefined
  }
}

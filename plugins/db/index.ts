import { hash } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import postgres from '@fastify/postgres'
import fp from 'fastify-plugin'
import { hasQueuedInVain, isBroken, isPassing, isTrouble } from './trouble.ts'
import { InternalServerError, unavailable } from '../errors.ts'
import type { Pool, PoolClient, QueryResultRow } from 'pg'
import type { Config } from '../config/index.ts'

declare module 'fastify' {
  interface FastifyInstance { db: Db }
}

/** SQL with parameters. Infrastructure trouble is thrown as ServiceUnavailable. */
export interface Sql {
  query: <Row extends QueryResultRow> (text: string, values?: unknown[]) => Promise<Row[]>
}

export interface Db extends Sql {
  /** Runs `work` in a transaction, and again after a serialization failure or deadlock. */
  tx: <Result> (work: (tx: Sql) => Promise<Result>) => Promise<Result>
  /** The last time that PostgreSQL was away, as this process saw it. */
  lastOutage: () => { startedAgoMs: number, endedAgoMs: number } | undefined
}

const TRIES = 3
const IDLE_IN_TRANSACTION_MS = 5000
const LIFETIME_SECONDS = 1800

export function createDb (pool: Pick<Pool, 'connect'>): Db {
  let awaySince: number | undefined
  let outage: { startedAt: number, endedAt: number } | undefined

  return {
    lastOutage: () => outage && {
      startedAgoMs: performance.now() - outage.startedAt,
      endedAgoMs: performance.now() - outage.endedAt
    },
    query: (text, values) => insist((client) => statement(client, text, values)),
    tx: (work) => insist((client) => transaction(client, work))
  }

  async function insist<Result> (use: (client: PoolClient) => Promise<Result>, tries = TRIES): Promise<Result> {
    try {
      return await withClient(use)
    } catch (error) {
      if (!isPassing(error)) throw error
      if (tries === 1) throw unavailable(error)
    }
    return insist(use, tries - 1)
  }

  async function withClient<Result> (use: (client: PoolClient) => Promise<Result>) {
    const client = await pool.connect().catch((error) => {
      if (!hasQueuedInVain(error)) awaySince ??= performance.now()
      throw unavailable(error)
    })
    try {
      const result = await use(client)
      client.release()
      noteReturn()
      return result
    } catch (error) {
      if (isTrouble(error) && isBroken(error)) awaySince ??= performance.now()
      // No rollback into a black hole: a broken client goes, and PostgreSQL rolls back when it is gone.
      client.release(isBroken(error) ? error as Error : undefined)
      throw isTrouble(error) ? unavailable(error) : error
    }
  }

  function noteReturn () {
    if (awaySince === undefined) return
    outage = { startedAt: awaySince, endedAt: performance.now() }
    awaySince = undefined
  }
}

async function transaction<Result> (client: PoolClient, work: (tx: Sql) => Promise<Result>) {
  await client.query('begin')
  try {
    const result = await work({ query: (text, values) => statement(client, text, values) })
    const { command } = await client.query('commit')
    if (command !== 'COMMIT') throw new InternalServerError({ cause: new Error('the work went on after one of its statements had failed') })
    return result
  } catch (error) {
    if (!isBroken(error)) await client.query('rollback')
    throw error
  }
}

async function statement<Row extends QueryResultRow> (client: PoolClient, text: string, values?: unknown[]) {
  const { rows } = await client.query<Row>({ name: nameOf(text), text, values })
  return rows
}

// A named statement is parsed and planned once per connection.
const names = new Map<string, string>()
function nameOf (text: string) {
  const known = names.get(text)
  if (known) return known
  const name = hash('sha256', text).slice(0, 32)
  names.set(text, name)
  return name
}

/** How every connection of ours is opened: no wait without an end. */
export function connectionOptions (config: Config) {
  return {
    connectionString: config.DATABASE_URL,
    application_name: 'microts',
    connectionTimeoutMillis: config.DB_CONNECT_TIMEOUT,
    query_timeout: config.DB_QUERY_TIMEOUT,
    statement_timeout: Math.ceil(config.DB_QUERY_TIMEOUT * 0.9),
    lock_timeout: Math.ceil(config.DB_QUERY_TIMEOUT * 0.8),
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    keepAlive: true
  }
}

export default fp(async (app) => {
  await app.register(postgres, { ...connectionOptions(app.config), max: app.config.DB_POOL_SIZE, maxLifetimeSeconds: LIFETIME_SECONDS })
  // One that breaks while somebody holds it, between two statements, tells so at the next one; unheard, it would end the process.
  app.pg.pool.on('connect', (client) => client.on('error', () => {}))
  app.pg.pool.on('error', (error) => app.log.warn({ err: error }, 'an idle database connection broke'))
  const db = createDb(app.pg.pool)
  app.decorate('db', db)
  app.health.add('database', async () => {
    const [server] = await db.query<{ recovering: boolean }>('select pg_is_in_recovery() as recovering')
    if (server?.recovering) throw new Error('the database is a read-only standby')
  })
}, { name: 'db', dependencies: ['config', 'health', 'errors'] })

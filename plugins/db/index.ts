import postgres from '@fastify/postgres'
import fp from 'fastify-plugin'
import pg, { type Pool, type PoolClient, type QueryResultRow } from 'pg'
import { ServiceUnavailable, unavailable } from '../errors.ts'
import { Client } from './client.ts'
import { createConnections } from './connections.ts'
import { Cut, untilCut } from './cut.ts'
import { createOutages } from './outages.ts'
import { ask, askAsOne, transaction, type Sql } from './statements.ts'
import { isBroken, isPassing, isTrouble } from './trouble.ts'
import type { FastifyInstance } from 'fastify'
import type { Breaker } from '../breaker.ts'
import type { Config } from '../config/index.ts'
import type { Signal } from '../deadline.ts'
import type { Slots } from '../slots.ts'

declare module 'fastify' {
  interface FastifyInstance { db: Db }
}

interface Db extends Sql {
  /** Throws ServiceUnavailable where a statement would not be tried, for who would do something dear before it. */
  refuseIfAway: () => void
  /** Runs `work` in a transaction, and again after a serialization failure or deadlock. */
  tx: <Result> (work: (tx: Sql) => Promise<Result>) => Promise<Result>
  /** For checks in the background: over connections of their own, so that no load keeps them waiting. */
  check: <Row extends QueryResultRow> (text: string) => Promise<Row[]>
  /** The last time that PostgreSQL was away, as this process saw it. */
  lastOutage: () => { startedAgoMs: number, endedAgoMs: number } | undefined
}

type Needs = {
  pool: Pick<Pool, 'connect'>
  checks: Pick<Pool, 'query'>
  breaker: Breaker
  /** As many as the pool has connections, so that it is here that a request waits for one. */
  slots: Slots
  patienceMs: number
  /** Outages no further apart than that are one. */
  graceMs: number
  deadline: () => Signal | undefined
}

const TRIES = 3
const IDLE_IN_TRANSACTION_MS = 5000
const LIFETIME_SECONDS = 1800
const IDLE_MS = 300_000
// Before a firewall forgets who is silent: those of the large clouds do so after 4 minutes and more.
const KEEP_ALIVE_MS = 60_000
const CHECKS = 2
const CHECK_MS = 900      // less than the second that a health check has

// A statement is planned once for whatever it may be asked: those that take arrays would else be planned for each array anew, which takes
// longer than to run them. One whose client has gone ends soon, and its locks with it, unless PostgreSQL is too old for that or runs on Windows.
const GREETING = `
  select pg_is_in_recovery() as recovering, set_config('plan_cache_mode', 'force_generic_plan', false), (
    select set_config(name, '500', false) from pg_settings
    where name = 'client_connection_check_interval' and version() !~* 'windows|mingw|visual'
  )`

export function createDb ({ pool, checks, breaker, slots, patienceMs, graceMs, deadline }: Needs): Db {
  const connections = createConnections(pool)
  const outages = createOutages(graceMs)
  let isAway = false      // as the checks see it

  return {
    refuseIfAway: breaker.refuseIfOpen,
    lastOutage: outages.last,
    query: (...statement) => insist((client, signal) => ask(client, signal, statement)),
    batch: (...statements) => insist((client, signal) => askAsOne(client, signal, statements)),
    tx: (work) => insist((client, signal) => transaction(client, signal, work)),

    async check (text) {
      try {
        const { rows } = await checks.query(text)
        if (isAway) {
          breaker.close()
          connections.suspectIdle()      // that of before may be dead without a word
        }
        isAway = false
        outages.end()
        return rows
      } catch (error) {
        isAway = isTrouble(error) && isBroken(error)
        if (isAway) outages.begin()
        throw error
      }
    }
  }

  async function insist<Result> (use: Use<Result>, tries = TRIES): Promise<Result> {
    try {
      // Nobody waits in line for what is known to be away.
      breaker.refuseIfOpen()
      return await slots.pass(() => breaker.run(() => withClient(use)), patienceMs)
    } catch (error) {
      if (error instanceof Cut) throw error.cause
      if (!isPassing(error)) throw error
      if (tries === 1) throw unavailable(error)
    }
    return insist(use, tries - 1)
  }

  async function withClient<Result> (use: Use<Result>) {
    const client = await connections.take().catch((error) => {
      outages.begin()
      throw unavailable(error)
    })
    const signal = deadline()
    try {
      const result = await untilCut(use(client, signal), signal)
      connections.giveBack(client)
      outages.end()
      return result
    } catch (error) {
      if (isBroken(error)) connections.discard(client, error as Error)
      else client.release()
      if (error instanceof Cut || !isTrouble(error)) throw error
      outages.begin()
      throw unavailable(error)
    }
  }
}

type Use<Result> = (client: PoolClient, signal: Signal | undefined) => Promise<Result>

/** How every connection of ours is opened: no wait without an end. */
function connectionOptions (config: Config) {
  return {
    Client,
    connectionString: config.DATABASE_URL,
    application_name: 'microts',
    connectionTimeoutMillis: config.DB_CONNECT_TIMEOUT,
    query_timeout: config.DB_QUERY_TIMEOUT,
    statement_timeout: Math.ceil(config.DB_QUERY_TIMEOUT * 0.9),
    lock_timeout: Math.ceil(config.DB_QUERY_TIMEOUT * 0.8),
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    onConnect: greet
  }
}

/** A standby may lag: who is not there yet would be taken for unknown. No primary becomes one without a restart. */
async function greet (client: pg.ClientBase) {
  const { rows: [server] } = await client.query<{ recovering: boolean }>(GREETING)
  if (server?.recovering) throw new Error('the database is a read-only standby')
}

// Or old dates would be sent with the offset of this machine's time zone, cut to minutes.
pg.defaults.parseInputDatesAsUTC = true

export default fp(async (app) => {
  const { config } = app
  // Longer than pg's 10 s: who comes after a quiet moment would pay for a new connection and for its plans.
  await app.register(postgres, { ...connectionOptions(config), max: config.DB_POOL_SIZE, idleTimeoutMillis: IDLE_MS, maxLifetimeSeconds: LIFETIME_SECONDS })
  const checks = new pg.Pool({ ...connectionOptions(config), application_name: 'microts checks', max: CHECKS, connectionTimeoutMillis: CHECK_MS, query_timeout: CHECK_MS })
  app.addHook('onClose', () => checks.end())
  // One that breaks while somebody holds it, between two statements, tells so at the next one; unheard, it would end the process.
  for (const pool of [app.pg.pool, checks]) pool.on('connect', (client) => client.on('error', () => {}))
  app.pg.pool.on('error', (error) => app.log.warn({ err: error }, 'an idle database connection broke'))
  checks.on('error', () => {})

  const slots = app.slots(config.DB_POOL_SIZE)
  measure(app, slots)
  const db = createDb({
    pool: app.pg.pool,
    checks,
    breaker: app.breakers.create('database', { isFailure: (error) => error instanceof ServiceUnavailable || error instanceof Cut }),
    slots,
    patienceMs: config.DB_CONNECT_TIMEOUT,
    graceMs: config.REFRESH_GRACE_SECONDS * 1000,
    deadline: app.deadline
  })
  app.decorate('db', db)
  app.health.add('database', () => db.check('select 1'))
}, { name: 'db', dependencies: ['breaker', 'config', 'deadline', 'errors', 'health', 'metrics', 'slots'] })

function measure ({ config, metrics, pg: { pool } }: FastifyInstance, slots: Slots) {
  metrics.gauge({ name: 'pg_pool_max_connections', help: 'Connections that the pool may open' }).set(config.DB_POOL_SIZE)
  metrics.gauge({ name: 'pg_pool_total_connections', help: 'Connections that are open', collect () { this.set(pool.totalCount) } })
  metrics.gauge({ name: 'pg_pool_idle_connections', help: 'Connections that nobody uses', collect () { this.set(pool.idleCount) } })
  metrics.gauge({ name: 'pg_pool_waiting_requests', help: 'Requests that wait for a connection', collect () { this.set(slots.waiting) } })
}

import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import fp from 'fastify-plugin'
import pg from 'pg'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance { purge: ReturnType<typeof createPurge> }
}

/** Rows of this table go once `endedAt`, an expression, lies so long back, or is not among the latest `keepRows`. `first` is below every id. */
export type Rule = { table: string, first: string, endedAt: string, keepSeconds: number, keepRows?: number }
type Sweep = { table: string, first: string, text: string, from: string }
type Page = { isOurs: boolean, read: number, deleted: number, until: string }
type Needs = Pick<FastifyInstance, 'config'> & { log: Pick<FastifyBaseLogger, 'info' | 'warn'>, signal: AbortSignal, everyMs?: number }

const PAGE = 1000
// Rests four times as long as it works, so that a server that is slow has less of it, and then twenty times as long as it swept.
const REST = 4
const PAUSE = 20
const EVERY_MS = 60_000
const LOCK_TIMEOUT_MS = 100
const STATEMENT_TIMEOUT_MS = 3000
const QUERY_TIMEOUT_MS = 3500

/**
 * Deletes what has ended long ago. Sweeps the tables by their primary keys, a page at a time: an index on when sessions end would
 * change with every refresh and outgrow all others. It waits for no row, and nobody waits for it for longer than a page takes.
 */
export function createPurge ({ config, log, signal, everyMs = EVERY_MS }: Needs) {
  const sweeps: Sweep[] = []

  return {
    add (rule: Rule) {
      sweeps.push({ ...rule, from: rule.first, text: statement(rule) })
    },

    /** Goes round until it is told to stop. */
    async run () {
      while (!signal.aborted) {
        const startedAt = performance.now()
        await round()
        const pause = Math.max(everyMs, PAUSE * (performance.now() - startedAt))
        await delay(pause * (0.5 + Math.random()), undefined, { signal, ref: false }).catch(() => {})
      }
    },

    round
  }

  async function round () {
    for (const sweep of sweeps) if (!signal.aborted) await purge(sweep)
  }

  async function purge (sweep: Sweep) {
    const startedAt = performance.now()
    let client: pg.Client | undefined
    const leave = () => client?.connection.stream.destroy()
    let rows = 0
    signal.addEventListener('abort', leave)
    try {
      client = createClient()      // reads the certificates that its URL names
      await client.connect()
      if (await isPrimary(client)) for await (const deleted of pages(client, sweep)) rows += deleted
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, `old ${sweep.table} could not be purged`)
    } finally {
      signal.removeEventListener('abort', leave)
      leave()
    }
    if (rows > 0) log.info({ rows, tookMs: Math.round(performance.now() - startedAt) }, `old ${sweep.table} purged`)
  }

  // One of its own, so that no request waits for it, and closing need not wait for an answer.
  function createClient () {
    const client = new pg.Client({
      connectionString: config.DATABASE_URL,
      application_name: 'microts purge',
      connectionTimeoutMillis: config.DB_CONNECT_TIMEOUT,
      lock_timeout: LOCK_TIMEOUT_MS,
      statement_timeout: STATEMENT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true
    })
    return client.on('error', () => {})      // whoever waits for an answer is told
  }

  /** How much was deleted of each, from where the last round got to, to the end of the table, or until another replica is at it. */
  async function * pages (client: pg.Client, sweep: Sweep) {
    for (let isLast = false; !isLast;) {
      const startedAt = performance.now()
      const { rows: [page] } = await client.query<Page>(sweep.text, [sweep.from])
      const { isOurs, read, deleted, until } = page!      // it has no FROM
      if (!isOurs) return
      isLast = read < PAGE
      sweep.from = isLast ? sweep.first : until
      yield deleted
      if (!isLast) await delay(REST * (performance.now() - startedAt), undefined, { signal })
    }
  }
}

async function isPrimary (client: pg.Client) {
  const { rows: [server] } = await client.query<{ recovering: boolean }>('select pg_is_in_recovery() as recovering')
  return !server?.recovering
}

/** Of those that came at one time with the last of the rows to keep, all stay. */
function isOld ({ table, endedAt, keepSeconds, keepRows }: Rule) {
  const longAgo = `now() - interval '${keepSeconds} seconds'`
  if (keepRows === undefined) return `${endedAt} < ${longAgo}`
  const last = `select ${endedAt} from ${table} where ${endedAt} > ${longAgo} order by ${endedAt} desc offset ${keepRows - 1} limit 1`
  return `${endedAt} < greatest(${longAgo}, (${last}))`
}

const statement = (rule: Rule) => `
  with turn as (
    select pg_try_advisory_xact_lock(hashtextextended('microts purge ${rule.table}', 0)) as is_ours
  ), page as (
    select id, ${isOld(rule)} as is_old from ${rule.table}
    where id > $1 and (select is_ours from turn)
    order by id limit ${PAGE}
  ), old as (
    select id from ${rule.table} where id = any(array(select id from page where is_old)) and ${isOld(rule)} for update skip locked
  ), deleted as (
    delete from ${rule.table} where id = any(array(select id from old))
  )
  select (select is_ours from turn) as "isOurs", (select count(*)::int from page) as read, (select count(*)::int from old) as deleted,
         (select id::text from page order by id desc limit 1) as until`

export default fp(async (app) => {
  const stop = new AbortController()
  const purge = createPurge({ config: app.config, log: app.log, signal: stop.signal })
  app.decorate('purge', purge)

  let running: Promise<void> | undefined
  app.health.risen.then(() => { running = purge.run() })
  app.addHook('onClose', async () => {
    stop.abort()
    await running
  })
}, { name: 'purge', dependencies: ['config', 'health'] })

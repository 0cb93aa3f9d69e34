import { setTimeout as delay } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { NIL, v7 as uuidv7 } from 'uuid'
import type { FastifyInstance } from 'fastify'
import type { Received } from './alerts/index.ts'

declare module 'fastify' {
  interface FastifyInstance { alertStore: ReturnType<typeof createAlertStore> }
}

type Saved = Pick<Received, 'fingerprint' | 'name' | 'status' | 'severity' | 'startsAt'> & { id: string }
type Row = Omit<Received, 'runbook'> & { id: string, receivedAt: Date }
type Counts = Record<'total' | 'firing' | 'resolved' | 'critical' | 'warning' | 'info', number>
type Firing = { name: string, severity: string, since: Date }

const KEEP_DAYS = 30
const KEEP_SECONDS = KEEP_DAYS * 86_400
const KEEP_ROWS = 10_000
const MOST_SHOWN = 20
const EVERY_MS = 5000

// Alertmanager tells of a group once a minute at most. Where Prometheus did not reach it for some minutes it takes an alert for over, and goes on later with the start that it had.
const MAY_BE_LATE = "known.received_at > excluded.received_at - interval '45 seconds'"
// It repeats what goes on, within a day where it was not told to be slower; of what ends while it is silenced it never tells.
const IS_FIRING = "status = 'firing' and received_at > now() - interval '25 hours'"

/** The alerts that Alertmanager told of: one row for each fingerprint and start, which changes as long as it is told of. */
function createAlertStore (db: FastifyInstance['db']) {
  let overview = { counts: { total: 0, firing: 0, resolved: 0 }, firing: [] as Firing[] }
  let running: Promise<void> = Promise.resolve()
  let next: Promise<void> | undefined

  return {
    /** Stores them all or none, none of them twice. */
    async save (alerts: Received[]) {
      const column = (name: keyof Received) => alerts.map((alert) => alert[name])
      const labels = alerts.map(({ labels }) => JSON.stringify(labels))
      // What has ended stays so, whatever is told of it late: 'firing' is less than 'resolved'. In one order, so that nobody waits for each other.
      const saved = await db.query<Saved>(`
        insert into alerts as known (id, fingerprint, name, status, severity, summary, description, labels, starts_at, ends_at)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::timestamptz[], $10::timestamptz[])
          as told (id, fingerprint, name, status, severity, summary, description, labels, starts_at, ends_at)
        order by fingerprint, starts_at
        on conflict (fingerprint, starts_at) do update
        set status = case when ${MAY_BE_LATE} then greatest(known.status, excluded.status) else excluded.status end,
            ends_at = case when ${MAY_BE_LATE} then coalesce(excluded.ends_at, known.ends_at) else excluded.ends_at end,
            summary = excluded.summary, description = excluded.description,
            received_at = case when ${MAY_BE_LATE} and known.status > excluded.status then known.received_at else excluded.received_at end
        returning id, fingerprint, name, status, severity, starts_at as "startsAt"`,
      [alerts.map(() => uuidv7()), column('fingerprint'), column('name'), column('status'), column('severity'), column('summary'), column('description'), labels, column('startsAt'), column('endsAt')])
      await refresh().catch(() => {})      // they are stored
      return inOrderOf(alerts, saved)
    },

    /** The latest alerts, and how many there are of all that are kept. */
    async history (limit: number) {
      const rows = await db.query<Row>(`
        select id, fingerprint, name, status, severity, summary, description, labels, starts_at as "startsAt", ends_at as "endsAt", received_at as "receivedAt"
        from alerts where received_at > now() - interval '${KEEP_DAYS} days'
        order by received_at desc, id desc limit $1`, [limit])
      const { total, firing, resolved, ...known } = countsOf(await db.query<Counts>(COUNTS))
      const other = total - known.critical - known.warning - known.info
      return { stats: { total, firing, resolved, bySeverity: { ...known, other } }, alerts: rows.map(toAlert) }
    },

    refresh,

    /** What this process knows of them, some seconds old at most while PostgreSQL is there; costs nothing. */
    get overview () { return overview }
  }

  // One at a time, over connections that health checks need too: who asks while one is running shares the next, which sees all that was stored by then.
  function refresh () {
    next ??= running.catch(() => {}).then(() => {
      running = next!
      next = undefined
      return read()
    })
    return next
  }

  async function read () {
    const { total, firing, resolved } = countsOf(await db.check<Counts>(COUNTS))
    const listed = firing === 0 ? [] : await db.check<Firing>(SHOWN)
    overview = { counts: { total, firing, resolved }, firing: listed }
  }
}

// Reads them all, which are never many.
const COUNTS = `
  select count(*)::int as total, count(*) filter (where ${IS_FIRING})::int as firing, count(*) filter (where status = 'resolved')::int as resolved,
         count(*) filter (where severity = 'critical')::int as critical, count(*) filter (where severity = 'warning')::int as warning,
         count(*) filter (where severity = 'info')::int as info
  from alerts where received_at > now() - interval '${KEEP_DAYS} days'`

const SHOWN = `
  select name, severity, starts_at as since from alerts
  where ${IS_FIRING}
  order by received_at desc, id desc limit ${MOST_SHOWN}`

const countsOf = ([row]: Counts[]) => row!      // an aggregate is always one row

function inOrderOf (alerts: Received[], saved: Saved[]) {
  const keyOf = ({ fingerprint, startsAt }: Pick<Saved, 'fingerprint' | 'startsAt'>) => `${fingerprint} ${startsAt.getTime()}`
  const byKey = new Map(saved.map(({ id, name, status, severity, ...key }) => [keyOf(key), { id, name, status, severity }]))
  return alerts.map((alert) => byKey.get(keyOf(alert))!)      // each has a row by now
}

function toAlert ({ startsAt, endsAt, receivedAt, ...alert }: Row) {
  return { ...alert, startsAt: startsAt.toISOString(), endsAt: endsAt?.toISOString() ?? null, receivedAt: receivedAt.toISOString() }
}

export default fp(async (app) => {
  const store = createAlertStore(app.db)
  app.decorate('alertStore', store)
  app.purge.add({ table: 'alerts', first: NIL, endedAt: 'received_at', keepSeconds: KEEP_SECONDS, keepRows: KEEP_ROWS })

  // What other replicas were told is known here some seconds later.
  const stop = new AbortController()
  let running: Promise<void> | undefined
  app.health.risen.then(() => { running = follow() })
  app.addHook('onClose', async () => {
    stop.abort()
    await running
  })

  async function follow () {
    while (!stop.signal.aborted) {
      await store.refresh().catch((error) => app.log.debug({ err: error }, 'the alerts could not be counted'))
      await delay(EVERY_MS * (0.5 + Math.random()), undefined, { signal: stop.signal, ref: false }).catch(() => {})
    }
  }
}, { name: 'alert-store', dependencies: ['db', 'health', 'purge'] })

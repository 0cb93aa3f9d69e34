import pg from 'pg'
import { databaseUrl } from '../../../helper.ts'
import type { Test } from 'tap'
import type { Visible } from './explain.ts'

export const TICK_SECONDS = 200

const TIMES = ['created_at', 'last_seen_at', 'rotated_at', 'idle_expires_at', 'expires_at', 'revoked_at']
const HELD = {
  accounts: 'select from users where email = any($1) for no key update',
  sessions: 'select from sessions where user_id in (select id from users where email = any($1)) for update'
}
export type Held = keyof typeof HELD

/** What is done past the service: time, and the order in which its statements get through. */
export function createDatabase (t: Test) {
  const pool = new pg.Pool({ connectionString: databaseUrl })
  t.teardown(() => pool.end())

  return {
    /** The sessions that nobody ended, the one seen last first, as the model has them. */
    async rows (emails: string[]): Promise<(Visible[string] & { email: string })[]> {
      return sql(`
        select u.email, u.disabled_at is not null as "isDisabled", array(
          select json_build_object(
            'id', s.id, 'generation', s.generation, 'rotatedAgo', round(extract(epoch from now() - s.rotated_at) / $2),
            'idleLeft', ceil(extract(epoch from s.idle_expires_at - now()) / $2), 'left', ceil(extract(epoch from s.expires_at - now()) / $2)
          )
          from sessions s
          where s.user_id = u.id and s.revoked_at is null and least(s.idle_expires_at, s.expires_at) > now() - interval '1 day'
          order by s.last_seen_at desc, s.id desc
        ) as sessions
        from users u where u.email = any($1)`, [emails, TICK_SECONDS])
    },

    /** All times of sessions are PostgreSQL's, so that this is as good as having waited. */
    age: (emails: string[], seconds: number) => sql(`
      update sessions set ${TIMES.map((column) => `${column} = ${column} - make_interval(secs => $2)`)}
      where user_id in (select id from users where email = any($1))`, [emails, seconds]),

    /**
     * Does all of this at once. Or, while rows are held, begins each as soon as those before it are done or wait for a row; then they
     * go on in that order, by what they have read before.
     */
    async atOnce<Result> (works: (() => Promise<Result>)[], held: Held | undefined, emails: string[]) {
      if (!held) return Promise.all(works.map((work) => work()))
      const { begun } = await transaction(async (client) => {
        await client.query(HELD[held], [emails])
        const begun: Promise<Result>[] = []
        let underWay = 0
        for (const work of works) {
          underWay++
          const working = work().finally(() => { underWay-- })
          working.catch(() => {})     // until it is awaited
          begun.push(working)
          while (underWay > await waiting());
        }
        return { begun }
      })
      return Promise.all(begun)
    }
  }

  async function waiting () {
    return (await sql("select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")).length
  }

  async function sql<Row extends pg.QueryResultRow> (text: string, values: unknown[] = []) {
    return (await pool.query<Row>(text, values)).rows
  }

  async function transaction<Result> (work: (client: pg.PoolClient) => Promise<Result>) {
    const client = await pool.connect()
    await client.query('begin')
    const result = await work(client)
    await client.query('commit')
    client.release()
    return result
  }
}

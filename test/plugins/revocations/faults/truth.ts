import { sql } from '../../../helper.ts'
import type { Ledger } from './ledger.ts'
import type { Attempt } from './verbs.ts'

/** An attempt that failed may have succeeded: PostgreSQL knows. */
export async function resolve (ledger: Ledger, attempts: Attempt[]) {
  const doubtful = attempts.flatMap(({ ending }) => ending).filter(({ state }) => state === 'in doubt')
  const alive = await sql<{ id: string }>('select id from sessions where id = any($1) and revoked_at is null', [doubtful.map(({ id }) => id)])
  for (const session of doubtful) ledger.resolve(session, alive.some(({ id }) => id === session.id))
}

/** What was acknowledged and is not there, or was done by half. */
export async function halves (ledger: Ledger, attempts: Attempt[]) {
  const sessions = [...ledger.in('alive'), ...ledger.in('ended')]
  const changes = attempts.filter(({ changesAccount }) => changesAccount).flatMap(({ ending }) => ending)
  return [
    ...await sql(`
      with feed as (select distinct session_id as id from revocations)
      select known.id, s.revoked_at is null as "isAlive", feed.id is not null as "isTold"
      from unnest($1::uuid[]) as known (id) left join sessions s using (id) left join feed using (id)
      where (s.id is null or s.revoked_at is not null) <> (feed.id is not null)`, [sessions.map(({ id }) => id)]),
    ...await sql(`
      select known.email, u.epoch, known.ended
      from unnest($1::text[], $2::boolean[]) as known (email, ended) left join users u using (email)
      where (u.id is null or u.epoch > 0) <> known.ended`, [changes.map(({ email }) => email), changes.map(({ state }) => state === 'ended')]),
    ...await sql('select user_id as "hasTooMany" from sessions where revoked_at is null group by user_id having count(*) > 3')
  ]
}

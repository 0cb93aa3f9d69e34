import { randomUUID } from 'node:crypto'
import { NIL } from 'uuid'
import { loadConfig } from '../../../plugins/config/index.ts'
import { createPurge, type Rule } from '../../../plugins/purge.ts'
import { eventually } from '../../eventually.ts'
import { databaseUrl, settings, sql } from '../../helper.ts'
import type { Test } from 'tap'

/** Told by a purge, with what it told. */
export type Line = { level: string, msg: string, [key: string]: unknown }
type Settings = { lines?: Line[], signal?: AbortSignal, everyMs?: number, url?: string, rules?: Rule[] }

const ENDED = 'least(expires_at, idle_expires_at, revoked_at)'
export const sessions: Rule = { table: 'sessions', first: NIL, endedAt: ENDED, keepSeconds: 86_400 }
export const revocations: Rule = { table: 'revocations', first: '0', endedAt: 'at', keepSeconds: 3900 }
export const BACKENDS = "from pg_stat_activity where datname = current_database() and application_name = 'microts purge'"

/** What each replica has, without the rest of it. */
export function purgeOf (t: Test, { lines = [], signal, url = databaseUrl, rules = [sessions], everyMs }: Settings = {}) {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const tell = (level: string) => (details: object, msg = '') => { lines.push({ level, msg, ...details }) }
  const config = loadConfig({ ...settings, DATABASE_URL: url })
  const purge = createPurge({ config, log: { info: tell('info'), warn: tell('warn') }, signal: signal ?? stop.signal, everyMs })
  for (const rule of rules) purge.add(rule)
  return purge
}

/** How many rows were purged, as it was told. */
export const rowsOf = (lines: Line[]) => lines.reduce((sum, { rows }) => sum + Number(rows), 0)

/** Sessions of one user that end then. */
export async function insertSessions (count: number, revokedAt = "now() - interval '2 days'", userId?: string) {
  const owner = userId ?? await insertUser()
  const rows = await sql<{ id: string }>(`
    insert into sessions (id, user_id, nonce_hash, idle_expires_at, expires_at, revoked_at)
    select gen_random_uuid(), $1, '', now() + interval '7 days', now() + interval '30 days', ${revokedAt} from generate_series(1, $2) as i
    returning id`, [owner, count])
  return rows.map(({ id }) => id)
}

async function insertUser () {
  const id = randomUUID()
  await sql("insert into users (id, email, email_canonical, password_hash) values ($1, $2, $2, '')", [id, id])
  return id
}

/** Whether there is a session that ended a day ago. */
export async function isThereWork () {
  const [row] = await sql<{ exists: boolean }>(`select exists (select from sessions where ${ENDED} < now() - interval '1 day')`)
  return row!.exists
}

/** What happens for each session that is deleted; answers how to undo it. */
export async function onDelete (t: Test, statement: string) {
  await sql(`
    create function interfere() returns trigger language plpgsql as $$ begin ${statement}; return old; end $$;
    create trigger interfere before delete on sessions for each row execute function interfere()`)
  const undo = () => sql('drop function if exists interfere() cascade')
  t.teardown(undo)
  return undo
}

export const isAsleep = async () => (await sql(`select ${BACKENDS} and wait_event = 'PgSleep'`)).length === 1

export const untilAsleep = () => eventually(isAsleep)

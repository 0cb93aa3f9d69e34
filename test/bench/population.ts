import pg from 'pg'
import { migrate } from '../../plugins/migrations.ts'
import { createRefreshTokens } from '../../plugins/sessions/refresh-token.ts'
import { USER_AGENTS } from '../scale/rows.ts'
import { emailOf, hashOfAll } from './world.ts'
import type { Identity } from '../../plugins/auth/tokens.ts'

type Env = { DATABASE_URL: string, REFRESH_TOKEN_SECRET?: string | undefined }
export type Population = Awaited<ReturnType<typeof createPopulation>>

const quiet = { debug () {}, warn () {} }

// The id of a session is its nonce too, so that its refresh token follows from it. No user is missing: no foreign key is looked up.
const FILL = `
  set session_replication_role = replica;
  create function fill (count integer, hash text, agent text) returns void language sql as $$
    insert into users (id, email, email_canonical, password_hash)
    select uuidv7(), email, email, hash from generate_series(0, count - 1) i, lateral (select 'user-' || i || '@example.com') as named (email);
    insert into sessions (id, user_id, nonce_hash, idle_expires_at, expires_at, ip, user_agent)
    select id, user_id, sha256(uuid_send(id)), now() + interval '7 days', now() + interval '30 days', '192.0.2.1', agent
    from (select uuidv7() as id, id as user_id from users order by random()) as opened
  $$`

/** A database of its own with so many users, and a session each, opened in an order that chance decides. */
export async function createPopulation <Settings extends Env> (servers: Settings, count: number) {
  await query(servers.DATABASE_URL, `create database users_${count}`)
  const url = Object.assign(new URL(servers.DATABASE_URL), { pathname: `/users_${count}` }).href
  await migrate({ databaseUrl: url, direction: 'up', log: quiet })
  const hash = await hashOfAll()
  await query(url, FILL, `select fill(${count}, '${hash}', '${USER_AGENTS[0]}')`, 'drop function fill', 'vacuum (freeze, analyze)', 'checkpoint')
  const refreshTokens = createRefreshTokens([servers.REFRESH_TOKEN_SECRET!])

  return {
    env: { ...servers, DATABASE_URL: url },
    anyEmail: () => emailOf(Math.floor(Math.random() * count)),

    /** So many of the sessions, or all of them, by chance. */
    async anySessions (most: number) {
      const rows = await query<Identity>(url, `select user_id as id, id as "sessionId" from sessions order by random() limit ${most}`)
      return rows.map((owner) => ({ owner, refreshToken: refreshTokens.sign({ sessionId: owner.sessionId, generation: 0, nonce: bytesOf(owner.sessionId) }) }))
    }
  }
}

const bytesOf = (uuid: string) => Buffer.from(uuid.replaceAll('-', ''), 'hex')

async function query <Row extends pg.QueryResultRow> (url: string, ...texts: string[]) {
  const client = new pg.Client(url)
  await client.connect()
  let rows: Row[] = []
  for (const text of texts) ({ rows } = await client.query<Row>(text))
  await client.end()
  return rows
}

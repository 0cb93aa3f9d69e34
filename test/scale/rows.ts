import { sql } from '../helper.ts'

/** What browsers, telephones and programs say of themselves, each as often as it stands here. */
export const USER_AGENTS = [
  ...Array(6).fill('Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36'),
  ...Array(4).fill('Mozilla/5.0 (iPhone; CPU iPhone OS 18_6_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1'),
  ...Array(4).fill('Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36'),
  ...Array(2).fill('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15'),
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0',
  'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0',
  'Shop/412 CFNetwork/3826.600.41 Darwin/24.6.0',
  'okhttp/4.12.0'
]

export async function insertUsers (count: number) {
  await sql(`
    insert into users (id, email, email_canonical, password_hash)
    select uuidv7(), i || '@example.com', i || '@example.com', repeat('x', 97) from generate_series(1, ${count}) i`)
}

/** Live sessions of all users, opened in an order that chance decides; two in three from an IPv4 address. */
export async function insertSessions (eachUser: number) {
  await sql(`
    insert into sessions (id, user_id, nonce_hash, idle_expires_at, expires_at, ip, user_agent)
    select uuidv7(), id, sha256(uuid_send(gen_random_uuid())), clock_timestamp() + interval '7 days', clock_timestamp() + interval '30 days',
           case when random() < 0.66 then '198.51.100.0'::inet + floor(random() * 256)::bigint else '2001:db8::'::inet + floor(random() * 1e12)::bigint end,
           ($1::text[])[1 + floor(random() * ${USER_AGENTS.length})::int]
    from (select id from users, generate_series(1, ${eachUser}) order by random()) as opening`, [USER_AGENTS])
}

/** Revocations of an hour that ended so long ago, each of a transaction of its own. */
export async function insertRevocations (count: number, ago = '0 seconds') {
  await sql(`
    insert into revocations (session_id, xid, at)
    select uuidv7(), i::text::xid8, now() - interval '${ago}' - (${count} - i) * interval '1 hour' / ${count} from generate_series(1, ${count}) i`)
}

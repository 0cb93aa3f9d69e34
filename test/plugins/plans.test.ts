import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { test } from 'tap'
import { alert, notify } from '../alertmanager.ts'
import { build, databaseUrl, logIn, PASSWORD, post, signUp, sql } from '../helper.ts'
import type { Test } from 'tap'

type Plan = { 'Node Type': string, 'Relation Name'?: string, 'Index Name'?: string, 'Index Cond'?: string, Plans?: Plan[] }
type Statements = Map<string, unknown[]>
type Asked = { text: string, values?: unknown[] }

const PLUGINS = join(import.meta.dirname, '../../plugins')
const TABLES = ['users', 'sessions', 'revocations', 'alerts']
const LITERAL = /`\s*((?:select|insert|update|delete|with)\s[^`]*)`|'((?:select|insert|update|delete) [^'\n]*)'/g
const READS = /(?:from|into|update|join) (?:users|sessions|revocations|alerts|\$\{)/
const CASCADE = 'delete from only sessions where user_id = $1'      // PostgreSQL's own, when a user is deleted
const COUNTING = 'select count(*)::int as total'      // all of a table that never grows large
const INDEXES = `
  select i.indexrelid::regclass::text as name,
         case when c.oid is null then format('drop index %s', i.indexrelid::regclass)
              else format('alter table %s drop constraint %I cascade', i.indrelid::regclass, c.conname) end as drop
  from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
  where i.indrelid in ('users'::regclass, 'sessions'::regclass, 'revocations'::regclass, 'alerts'::regclass)`

test('every statement finds its rows by an index, and every index is needed', async (t) => {
  await fill()
  const statements = await capture(t)
  for (const literal of literals()) t.ok([...statements.keys()].some((text) => literal.every((part) => text.includes(part))), literal.join('…'))
  statements.set(CASCADE, [])

  const client = new pg.Client(databaseUrl)
  await client.connect()
  t.teardown(() => client.end())
  await client.query('begin')
  t.same(await findings(client, statements), [])
  const ofLiveSessions = [...statements.keys()].filter((text) => /where user_id = .*and revoked_at is null/s.test(text))
  t.equal(ofLiveSessions.length, 3)
  for (const text of ofLiveSessions) {
    const { rows } = await client.query(`explain (generic_plan) ${text}`)
    t.match(rows.map((row) => row['QUERY PLAN']).join('\n'), /Index Cond: .*revoked_at IS NULL/, `it reads none that have ended: ${text}`)
  }
  await client.query('rollback')

  for (const { name, drop } of await sql<{ name: string, drop: string }>(INDEXES)) {
    await client.query('begin')
    await client.query(drop)
    const found = await findings(client, statements)
    await client.query('rollback')
    t.ok(found.length > 0, `without ${name}: ${found[0]}`)
  }
})

test('no index holds what a refresh changes, so that PostgreSQL updates the row alone (HOT)', async (t) => {
  const set = readFileSync(join(PLUGINS, 'sessions/rotation.ts'), 'utf8').match(/update sessions s\s+set ([^`]+?)\s+from/)![1]!
  const changed = [...set.matchAll(/(\w+) = /g)].map(([, column]) => column)
  t.ok(changed.includes('last_seen_at'), `${changed}`)
  t.same(await sql(`
    select d.objid::regclass as index, a.attname as column
    from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where d.classid = 'pg_class'::regclass and d.refobjid = 'sessions'::regclass and a.attname = any($1)`, [changed]), [])
})

test('a page is never so full of sessions that a refresh moves one to another', async (t) => {
  const app = await build(t)
  await sql('truncate sessions')
  const { user: { id }, refreshToken } = await signUp(app, 'hopper@example.com')
  await sql(`
    insert into sessions (id, user_id, nonce_hash, idle_expires_at, expires_at)
    select uuidv7(), $1, sha256(''), now(), now() from generate_series(1, 1000)`, [id])
  const before = await placeOf(id)
  t.equal((await post(app, '/auth/refresh', { refreshToken })).statusCode, 200)

  const after = await placeOf(id)
  t.equal(after.page, before.page)
  t.not(after.slot, before.slot, 'it was written anew')
})

async function placeOf (userId: string) {
  const [place] = await sql<{ page: number, slot: number }>(`
    select (ctid::text::point)[0] as page, (ctid::text::point)[1] as slot from sessions where user_id = $1 and nonce_hash <> sha256('')`, [userId])
  return place!
}

/** Runs every verb, and notes what the service asks PostgreSQL, with the last values. */
async function capture (t: Test): Promise<Statements> {
  const statements: Statements = new Map()
  const { query } = pg.Client.prototype
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    const [first, given] = args as [string | Asked | { queries: Asked[] }, unknown[]]
    const asked = typeof first === 'string' ? [{ text: first, values: given }] : 'queries' in first ? first.queries : [first]
    const isOurs = (this as unknown as { connectionParameters: { application_name?: string } }).connectionParameters.application_name?.startsWith('microts')
    for (const { text, values } of asked) if (isOurs && /^\s*(select|insert|update|delete|with)\s/.test(text)) statements.set(text, values ?? [])
    return Reflect.apply(query, this, args)
  } as typeof query
  t.teardown(() => { pg.Client.prototype.query = query })

  const [app, stricter] = [await build(t, { REFRESH_GRACE_SECONDS: '0' }), await build(t, { ARGON2_TIME: '2' })]
  const { email, headers, ...first } = await signUp(app)
  const [second] = [await logIn(stricter, email), await logIn(app, email)]
  const call = (method: 'GET' | 'PATCH' | 'PUT' | 'DELETE', url: string, payload?: object, more = {}) =>
    app.inject({ method, url, headers: { ...headers, ...more }, payload })
  const me = await call('GET', '/me')
  const { sessions } = (await call('GET', '/me/sessions')).json()
  const newPassword = `${PASSWORD} horse`
  const answers = [
    await call('PATCH', '/me', { displayName: 'Ada' }, { 'if-match': me.headers.etag }),
    await post(app, '/auth/refresh', { refreshToken: first.refreshToken }),
    await call('DELETE', `/me/sessions/${sessions[0].id}`),
    await call('DELETE', '/me/sessions'),
    await call('PUT', '/me/password', { currentPassword: PASSWORD, newPassword }),
    await post(app, '/auth/logout', {}, second.headers),
    await call('DELETE', '/me', { password: newPassword })
  ]
  t.same(answers.map(({ statusCode }) => statusCode), [200, 200, 204, 204, 204, 204, 204])
  const stolen = await signUp(app)
  const ends = [
    await post(app, '/auth/refresh', { refreshToken: stolen.refreshToken }),
    await post(app, '/auth/logout', {}, stolen.headers),
    await post(app, '/auth/refresh', { refreshToken: stolen.refreshToken })
  ]
  t.same(ends.map(({ statusCode }) => statusCode), [200, 204, 401])
  const { user: { id } } = await signUp(app, 'grace@example.com')
  await app.users.find('grace@example.com')
  await app.users.disable(id)
  await app.users.enable(id)
  await app.users.setPassword(id, newPassword)
  for (let i = 0; i < 2; i++) await app.revocations.refresh()
  t.equal((await notify(app, [alert()])).statusCode, 200)
  t.equal((await app.inject('/alerts/history')).statusCode, 200)
  await app.purge.round()
  await Promise.all([app.close(), stricter.close()])
  return statements
}

/** As many as a middling service has; one session in ten was revoked in the last two days. */
async function fill () {
  await sql(`
    insert into users (id, email, email_canonical, password_hash)
    select uuidv7(), i || '@example.com', i || '@example.com', repeat('x', 97) from generate_series(1, 20000) i;
    insert into sessions (id, user_id, nonce_hash, idle_expires_at, expires_at, revoked_at)
    select uuidv7(), id, sha256(id::text::bytea), now() + random() * interval '7 days', now() + random() * interval '30 days',
           case when i = 2 and random() < 0.2 then now() - interval '2 days' * random() end
    from users, generate_series(1, 2) i order by random();
    insert into revocations (session_id, xid, at)
    select gen_random_uuid(), ceil(i / 20000.0 * pg_current_xact_id()::text::bigint)::text::xid8, now() - (20000 - i) * interval '150 ms'
    from generate_series(1, 20000) i;
    insert into alerts (id, fingerprint, name, status, severity, summary, description, labels, starts_at, received_at)
    select uuidv7(), i, 'HighErrorRate', case when i % 50 = 0 then 'firing' else 'resolved' end, 'critical', repeat('x', 60), repeat('x', 200), jsonb_build_object('alertname', 'HighErrorRate', 'instance', repeat('x', 60)),
           now() - (20000 - i) * interval '1 minute', now() - (20000 - i) * interval '1 minute'
    from generate_series(1, 20000) i`)
  await sql('vacuum analyze')
}

/** Each SQL text of ours that reads or writes these tables, cut where something is put in. */
function literals () {
  const files = readdirSync(PLUGINS, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  return files.flatMap((name) => [...readFileSync(join(PLUGINS, name), 'utf8').matchAll(LITERAL)]
    .map(([, long, short]) => (long ?? short)!)
    .filter((text) => READS.test(text))
    .map((text) => text.split(/\$\{.+?\}/)))
}

/** Which statement would read a whole table, or a whole index, with its values or with any. */
async function findings (client: pg.Client, statements: Statements) {
  const found: string[] = []
  for (const [text, values] of statements) {
    if (text.includes(COUNTING)) continue
    const plans = [await explain(client, '(generic_plan, format json)', text, [])]
    if (values.length > 0) plans.push(await explain(client, '(format json)', text, values))
    found.push(...plans.flat().map((finding) => `${finding}: ${text.replaceAll(/\s+/g, ' ').trim()}`))
  }
  return found
}

async function explain (client: pg.Client, options: string, text: string, values: unknown[]) {
  await client.query('savepoint before')
  try {
    const { rows } = await client.query(`explain ${options} ${text}`, values)
    return wholeReads(rows[0]['QUERY PLAN'][0].Plan)
  } catch (error) {
    await client.query('rollback to before')
    return [(error as Error).message]
  }
}

function wholeReads (plan: Plan): string[] {
  const { 'Node Type': type, 'Relation Name': table = '', 'Index Name': index } = plan
  const isWhole = type === 'Seq Scan' ? TABLES.includes(table) : index !== undefined && plan['Index Cond'] === undefined
  return [...isWhole ? [`${type} on ${index ?? table}`] : [], ...(plan.Plans ?? []).flatMap(wholeReads)]
}

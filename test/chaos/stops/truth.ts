import { isDeepStrictEqual } from 'node:util'
import argon2 from 'argon2'
import { born, type Account, type Life } from './accounts.ts'
import type { Database } from './database.ts'

type Row = { email: string, epoch: number, displayName: string | null, passwordHash: string, id: string, generation: number, isAlive: boolean }

/**
 * Holds what PostgreSQL has against what the clients were told: what was acknowledged is there, what is in doubt is there
 * wholly or not at all. Says what is wrong, and lets the clients go on from what is.
 */
export async function judge ({ sql }: Database, lives: Life[]) {
  const rows = await sql<Row>(`
    select u.email, u.epoch, u.display_name as "displayName", u.password_hash as "passwordHash", s.id, s.generation, s.revoked_at is null as "isAlive"
    from users u join sessions s on s.user_id = u.id where u.email = any($1)`, [lives.map(({ account }) => account.email)])
  const byEmail = Map.groupBy(rows, ({ email }) => email)
  const wrong: object[] = await sql(HALVES, [lives.flatMap(({ account }) => account.isThere ? [] : [...account.sessions.keys()])])
  let inDoubt = 0
  for (const life of lives) {
    const found = byEmail.get(life.account.email) ?? []
    const possible = [life.account, ...life.doubt ? [changed(life)] : []]
    const fitting = await firstThat(possible, (account) => fits(account, found))
    if (life.doubt) inDoubt++
    if (!fitting) wrong.push({ did: life.doubt?.what, possible, found })
    for (const id of fitting ? ended(life.account, fitting) : []) life.untold.add(id)
    if (!fitting?.isThere) Object.assign(life, born())
    else Object.assign(life, { account: withUntold(fitting, found), doubt: undefined })
  }
  return { wrong, inDoubt }
}

function changed ({ account, doubt }: Life) {
  const after = structuredClone(account)
  doubt!.change(after)
  return after
}

const ended = (before: Account, after: Account) =>
  [...before.sessions].filter(([id, { isAlive }]) => isAlive && !after.sessions.get(id)?.isAlive).map(([id]) => id)

async function fits ({ isThere, epoch, displayName, password, sessions, opening }: Account, rows: Row[]) {
  const [user] = rows
  if (!user || !isThere) return !user && !isThere
  const [told, untold] = [rows.filter(({ id }) => sessions.has(id)), rows.filter(({ id }) => !sessions.has(id))]
  return user.epoch === epoch && user.displayName === displayName && told.length === sessions.size &&
    told.every(({ id, generation, isAlive }) => isDeepStrictEqual(sessions.get(id), { generation, isAlive })) &&
    untold.length === opening && untold.every(({ generation, isAlive }) => generation === 0 && isAlive) &&
    argon2.verify(user.passwordHash, password)
}

function withUntold (account: Account, rows: Row[]): Account {
  for (const { id, generation, isAlive } of rows) account.sessions.set(id, { generation, isAlive })
  return { ...account, opening: 0 }
}

async function firstThat<Item> (items: Item[], isSo: (item: Item) => Promise<boolean>) {
  for (const item of items) if (await isSo(item)) return item
  return undefined
}

/** What no transaction may leave, in the whole database; $1 are the sessions of accounts that are gone. */
const HALVES = `
  select 'revoked or announced, but not both' as what, id from sessions s
  where (revoked_at is not null) <> exists (select from revocations where session_id = s.id)
  union all
  select 'an account without its first session', id from users u where not exists (select from sessions where user_id = u.id)
  union all
  select 'a deleted account, whose session is there or unannounced', id from unnest($1::uuid[]) as gone (id)
  where exists (select from sessions s where s.id = gone.id) or not exists (select from revocations where session_id = gone.id)`

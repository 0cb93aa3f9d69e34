import { NotFound, PasswordUnchanged } from '../errors.ts'
import { canonicalEmail, localPartOf } from './email.ts'
import { COLUMNS, toUser, type UserRow } from './rows.ts'
import type { FastifyInstance } from 'fastify'
import type { Sql } from '../db/statements.ts'

type Needs = Pick<FastifyInstance, 'cache' | 'db' | 'passwords' | 'sessions'>
type Locked = { epoch: number, updatedAt: Date }
type Credentials = { emailCanonical: string, passwordHash: string }

/** What an operator does to an account, without its password. The profile, and with it `updatedAt`, stays as it is. Throws NotFound. */
export function createAdministration ({ cache, db, passwords, sessions }: Needs) {
  return {
    async find (email: string) {
      const [row] = await db.query<UserRow & { disabledAt: Date | null }>(`
        select ${COLUMNS}, disabled_at as "disabledAt" from users where email_canonical = $1`, [canonicalEmail(email)])
      return row && { ...toUser(row), disabledAt: row.disabledAt?.toISOString() ?? null }
    },

    /** Refuses the account's logins and ends its sessions. */
    disable: (id: string) => changeAndRevoke(id, 'account disabled',
      'update users set disabled_at = coalesce(disabled_at, clock_timestamp()), epoch = epoch + 1 where id = $1 returning id'),

    /** Lets the account log in again; the sessions it had stay dead. */
    async enable (id: string) {
      const [row] = await db.query('update users set disabled_at = null where id = $1 returning id', [id])
      if (!row) throw new NotFound()
    },

    /** Replaces the password, by the same rules as its owner would, and ends all sessions. */
    async setPassword (id: string, password: string) {
      const [account] = await db.query<Credentials>('select email_canonical as "emailCanonical", password_hash as "passwordHash" from users where id = $1', [id])
      if (!account) throw new NotFound()
      passwords.check(password, { localPart: localPartOf(account.emailCanonical), pointer: '/password' })
      if (await passwords.verify(account.passwordHash, password)) throw new PasswordUnchanged()
      await changeAndRevoke(id, 'password set', 'update users set password_hash = $2, epoch = epoch + 1 where id = $1 returning id', await passwords.hash(password))
    },

    async delete (id: string) {
      if (!await erase(id)) throw new NotFound()
    },

    erase
  }

  // The user's row comes first, so that no login slips in between.
  async function changeAndRevoke (id: string, reason: string, statement: string, ...values: string[]) {
    const revoked = await db.tx(async (tx) => {
      const [row] = await tx.query(statement, [id, ...values])
      if (!row) throw new NotFound()
      return sessions.revokeUnderLock(tx, id, reason)
    })
    sessions.announce(revoked)
  }

  /** Deletes the account and all that belongs to it, unless `check` throws, to which it is shown when nobody can change it any more. Answers whether it was there. */
  async function erase (id: string, check?: (tx: Sql, now: Locked) => Promise<void>) {
    const revoked = await db.tx(async (tx) => {
      const [row] = await tx.query<Locked>('select epoch, updated_at as "updatedAt" from users where id = $1 for update', [id])
      if (!row) return undefined
      await check?.(tx, row)
      const ended = await sessions.revokeUnderLock(tx, id, 'account deleted')
      await tx.query('delete from users where id = $1', [id])
      return ended
    })
    if (!revoked) return false
    sessions.announce(revoked)
    cache.supersede(id)
    return true
  }
}

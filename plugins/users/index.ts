import fp from 'fastify-plugin'
import { v7 as uuidv7 } from 'uuid'
import { EmailTaken, InvalidCredentials, PasswordUnchanged, PreconditionFailed, refusal, Unauthorized } from '../errors.ts'
import { createAdministration } from './administration.ts'
import { canonicalEmail, localPartOf } from './email.ts'
import { COLUMNS, toUser, type User, type UserRow } from './rows.ts'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Sql } from '../db/statements.ts'
import type { Conditions } from '../etag.ts'
import type { Device, Verified } from '../sessions/index.ts'

declare module 'fastify' {
  interface FastifyInstance { users: ReturnType<typeof createUsers> }
}

type Needs = Pick<FastifyInstance, 'cache' | 'db' | 'beyondDeadline' | 'gather' | 'passwords' | 'sessions' | 'etag'> & { log: Pick<FastifyBaseLogger, 'debug' | 'warn'> }
type Account = Verified & { emailCanonical: string, passwordHash: string, isDisabled: boolean }
type Draft = { email: string, emailCanonical: string, password: string, displayName: string | null }

const ACCOUNT = 'id, epoch, email_canonical as "emailCanonical", password_hash as "passwordHash", disabled_at is not null as "isDisabled"'
// Strictly later than before, so that it serves as a version; in milliseconds, as JavaScript has them.
const TOUCH = "updated_at = greatest(date_trunc('milliseconds', clock_timestamp()), updated_at + interval '1 millisecond')"

// If-Match: * asks for any version there is (RFC 9110 section 13.1.1).
const ANY = '*'

function createUsers ({ cache, db, beyondDeadline, gather, passwords, sessions, etag, log }: Needs) {
  const tags = new WeakMap<User, string>()
  // Private, since it checks nothing by itself.
  const { erase, ...administration } = createAdministration({ cache, db, passwords, sessions })
  const find = gather((ids: string[]) => beyondDeadline(async () => {
    const rows = await db.query<UserRow>(`select ${COLUMNS} from users where id = any($1)`, [ids])
    return new Map(rows.map((row) => [row.id, row]))
  }))

  return {
    ...administration,
    canonicalEmail,
    etagOf,

    /** As it was a second ago at most; exact where a condition asks for a version. */
    get (id: string, conditions: Conditions) {
      return conditions['if-match'] === undefined ? cache.get(id, () => read(id)) : read(id)
    },

    /** What a new user would be made of; throws what is wrong with it, before any hash is computed. */
    draft ({ email, password, displayName = null }: { email: string, password: string, displayName?: string | null }) {
      const emailCanonical = canonicalEmail(email)
      passwords.check(password, { localPart: localPartOf(emailCanonical), pointer: '/password' })
      return { email: email.trim(), emailCanonical, password, displayName: displayName?.trim() ?? null }
    },

    /** Makes the user and opens the first session, both or neither. Throws EmailTaken after as long as success takes. */
    async register (draft: Draft, device: Device) {
      db.refuseIfAway()
      const passwordHash = await passwords.hash(draft.password)
      const { user, opened } = await db.tx(async (tx) => {
        const { user, verified } = await create(draft, passwordHash, tx)
        return { user, opened: await sessions.openUnderLock(tx, verified, device) }
      })
      log.debug({ userId: user.id }, 'user registered')
      return { user, ...sessions.announceOpened(opened) }
    },

    /** Equal time and equal error, whether the account is unknown, disabled or has another password. */
    async authenticate (email: string, password: string): Promise<Verified> {
      const [account] = await db.query<Account>(`select ${ACCOUNT} from users where email_canonical = $1`, [canonicalEmail(email)])
      const user = await verified(account, password)
      if (account && passwords.isOutdated(account.passwordHash)) await rehash(account, password)
      return user
    },

    /** The account behind a session, with what its password is verified by. */
    async account (id: string): Promise<Account> {
      const [account] = await db.query<Account>(`select ${ACCOUNT} from users where id = $1`, [id])
      if (!account) throw new Unauthorized()
      return account
    },

    /** Throws PreconditionFailed where the conditions of a change do not hold; answers the version that is to be changed, if they name one. */
    requireVersion,

    async rename (id: string, displayName: string | null, conditions: Conditions) {
      const version = await requireVersion(id, conditions)
      const [row] = await db.query<UserRow>(`
        update users set display_name = $2, ${TOUCH}
        where id = $1 and ($3::timestamptz is null or updated_at = $3) returning ${COLUMNS}`, [id, displayName?.trim() ?? null, version])
      if (!row) throw version ? new PreconditionFailed() : new Unauthorized()
      const user = toUser(row)
      cache.supersede(id, user.updatedAt)
      return user
    },

    /** Replaces the password of a session's account and ends its other sessions. */
    async changePassword (account: Account, sessionId: string, { currentPassword, newPassword }: { currentPassword: string, newPassword: string }) {
      const { id, epoch } = await verified(account, currentPassword)
      const passwordHash = await passwords.hash(newPassword)
      const { version, revoked } = await db.tx(async (tx) => {
        const [row] = await tx.query<UserRow>(`update users set password_hash = $3, epoch = epoch + 1, ${TOUCH} where id = $1 and epoch = $2 returning ${COLUMNS}`, [id, epoch, passwordHash])
        if (!row) throw new InvalidCredentials()
        await sessions.mustBeAlive(tx, sessionId)
        return { version: toUser(row).updatedAt, revoked: await sessions.revokeUnderLock(tx, id, 'password changed', sessionId) }
      })
      sessions.announce(revoked)
      cache.supersede(id, version)
    },

    /** Refuses a new password before any hash is computed. */
    checkNewPassword ({ emailCanonical }: Account, { currentPassword, newPassword }: { currentPassword: string, newPassword: string }) {
      passwords.check(newPassword, { localPart: localPartOf(emailCanonical), pointer: '/newPassword' })
      if (!passwords.areEqual(newPassword, currentPassword)) return
      const error = new PasswordUnchanged()
      throw refusal(error, { errors: [{ pointer: '/newPassword', code: error.code, message: error.message }] })
    },

    /** Deletes a session's account and all that belongs to it, in this version or in any. */
    async remove (account: Account, sessionId: string, password: string, version: string | null) {
      const { id, epoch } = await verified(account, password)
      const isErased = await erase(id, async (tx, now) => {
        if (now.epoch !== epoch) throw new InvalidCredentials()
        if (version && now.updatedAt.toISOString() !== version) throw new PreconditionFailed()
        await sessions.mustBeAlive(tx, sessionId)
      })
      if (!isErased) throw new InvalidCredentials()
      log.debug({ userId: id }, 'user deleted')
    }
  }

  // The unique index decides, so that of many at a time one wins.
  async function create ({ email, emailCanonical, displayName }: Draft, passwordHash: string, tx: Sql) {
    const [row] = await tx.query<UserRow & { epoch: number }>(`
      insert into users (id, email, email_canonical, password_hash, display_name)
      values ($1, $2, $3, $4, $5)
      on conflict (email_canonical) do nothing
      returning ${COLUMNS}, epoch`, [uuidv7(), email, emailCanonical, passwordHash, displayName])
    if (!row) throw new EmailTaken()
    return { user: toUser(row), verified: { id: row.id, epoch: row.epoch } }
  }

  // Different for each user, since all share the URL. A user that is read from memory has its tag already.
  function etagOf (user: User) {
    const known = tags.get(user)
    if (known) return known
    const tag = etag.of(`${user.id} ${user.updatedAt}`)
    tags.set(user, tag)
    return tag
  }

  async function read (id: string): Promise<User> {
    const row = await find(id)
    if (!row) throw new Unauthorized()
    return toUser(row)
  }

  async function verified (account: Account | undefined, password: string): Promise<Verified> {
    const isRight = await passwords.verify(account?.passwordHash, password)
    if (!account || !isRight || account.isDisabled) throw new InvalidCredentials()
    return { id: account.id, epoch: account.epoch }
  }

  // Compare-and-set, since the password may change meanwhile; a login does not fail for it, and is not told from others that are refused.
  async function rehash ({ id, passwordHash }: Account, password: string) {
    if (!passwords.gate.hasRoom) return
    try {
      await db.query('update users set password_hash = $3 where id = $1 and password_hash = $2', [id, passwordHash, await passwords.hash(password)])
    } catch (error) {
      log.warn({ userId: id, err: error }, 'a password could not be rehashed')
    }
  }

  async function requireVersion (id: string, conditions: Conditions) {
    const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = conditions
    if (ifMatch === undefined && ifNoneMatch === undefined) return null
    const user = await read(id)
    if (etag.isKnown(conditions, etagOf(user))) throw new PreconditionFailed()
    return ifMatch === undefined || ifMatch.trim() === ANY ? null : user.updatedAt
  }
}

export default fp(async (app) => {
  app.decorate('users', createUsers(app))
}, { name: 'users', dependencies: ['cache', 'db', 'deadline', 'gather', 'passwords', 'sessions', 'etag'] })

import { randomBytes } from 'node:crypto'
import fp from 'fastify-plugin'
import { NIL, v7 as uuidv7 } from 'uuid'
import { InvalidCredentials, InvalidRefreshToken, NotFound, Unauthorized } from '../errors.ts'
import { createCount } from './events.ts'
import { createRefreshTokens, sha256, type RefreshClaim } from './refresh-token.ts'
import { createRotation } from './rotation.ts'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Sql } from '../db/statements.ts'

declare module 'fastify' {
  interface FastifyInstance { sessions: ReturnType<typeof createSessions> }
}

/** An account as it was when its password was verified: a change since then raises the epoch. */
export type Verified = { id: string, epoch: number }
/** Where a session is opened from. */
export type Device = { address: string | undefined, headers: { 'user-agent'?: string | undefined } }
type Access = { accessToken: string, expiresIn: number }
/** A session that one transaction has opened, and those it has ended. */
type Opened = { userId: string, claim: RefreshClaim, access: Access, evicted: string[] }
/** The sessions of a user that one transaction has ended. */
type Ended = { ids: string[], userId: string, reason: string }
type Needs = Pick<FastifyInstance, 'beyondDeadline' | 'config' | 'db' | 'gather' | 'metrics' | 'slots' | 'tokens' | 'revocations'> & { log: Pick<FastifyBaseLogger, 'debug' | 'warn'> }

type Listed = { id: string, createdAt: Date, lastSeenAt: Date, expiresAt: Date, ip: string | null, userAgent: string | null }

const USER_AGENT_LENGTH = 256
const EVICTED = 'session limit'
const UNCHANGED = 'select id from users where id = $1 and epoch = $2 and disabled_at is null'
// What has ended is refused with or without its row, which stays for whoever asks what happened.
const KEEP_SECONDS = 86_400

function createSessions ({ beyondDeadline, config, db, gather, metrics, slots, tokens, revocations, log }: Needs) {
  const count = createCount(metrics)
  const refreshTokens = createRefreshTokens(config.REFRESH_TOKEN_SECRET)
  const { REFRESH_IDLE_TTL: idleSeconds, REFRESH_ABSOLUTE_TTL: absoluteSeconds, SESSION_LIMIT: limit } = config
  const firstSeconds = Math.min(idleSeconds, absoluteSeconds)

  return {
    /** What a refresh token of ours says; throws InvalidRefreshToken for anything else. Costs no I/O. */
    claimOf (refreshToken: string): RefreshClaim {
      const claim = refreshTokens.verify(refreshToken)
      if (!claim) throw new InvalidRefreshToken()
      return claim
    },

    /** Opens a session unless the account changed since its password was verified. Whoever is over the limit loses the session that was idle for longest. */
    open: async (user: Verified, device: Device) => announceOpened(await openUnderLock(db, user, device)),

    openUnderLock,
    announceOpened,

    /** `rotate` exchanges a refresh token for the next pair, `endIfStolen` only looks for theft; both throw InvalidRefreshToken. */
    ...createRotation({ beyondDeadline, config, db, gather, slots, tokens, log, pairOf, end, count }),

    /** The live sessions of a user, the one seen last first. */
    async list (userId: string) {
      const rows = await db.query<Listed>(`
        select id, created_at as "createdAt", last_seen_at as "lastSeenAt", least(idle_expires_at, expires_at) as "expiresAt",
               host(ip) as ip, user_agent as "userAgent"
        from sessions
        where user_id = $1 and revoked_at is null and expires_at > now() and idle_expires_at > now()
        order by last_seen_at desc, id desc`, [userId])
      return rows.map(({ createdAt, lastSeenAt, expiresAt, ...session }) => ({
        ...session, createdAt: createdAt.toISOString(), lastSeenAt: lastSeenAt.toISOString(), expiresAt: expiresAt.toISOString()
      }))
    },

    /** Ends one session of this user; throws NotFound when there is no such one. */
    async revoke (id: string, userId: string, reason = 'revoked') {
      if (!await end(id, userId, reason)) throw new NotFound()
    },

    /** Ends one session of this user, which may have ended before. */
    close: (id: string, userId: string) => end(id, userId, 'logout'),

    /** Ends all sessions of this user, or all but one. */
    async revokeAll (userId: string, { except, reason }: { except?: string, reason: string }) {
      announce(await db.tx((tx) => revokeUnderLock(tx, userId, reason, except)))
    },

    revokeUnderLock,
    announce,

    /** Within a transaction, when the user's row is locked: throws Unauthorized where the session has ended meanwhile. */
    async mustBeAlive (tx: Sql, id: string) {
      const alive = await tx.query('select from sessions where id = $1 and revoked_at is null', [id])
      if (alive.length === 0) throw new Unauthorized()
    }
  }

  /** Within a transaction, or as one of its own. Answers what is to be announced after the commit. */
  async function openUnderLock (on: Sql, user: Verified, device: Device): Promise<Opened> {
    const claim: RefreshClaim = { sessionId: uuidv7(), generation: 0, nonce: randomBytes(16) }
    const access = tokens.sign({ id: user.id, sessionId: claim.sessionId }, firstSeconds)
    return { userId: user.id, claim, access, evicted: await insert(on, user, claim, device) }
  }

  /** Answers the next pair. */
  function announceOpened ({ userId, claim, access, evicted }: Opened) {
    revocations.announce(evicted)
    count('opened')
    if (evicted.length > 0) count('revoked', EVICTED, evicted.length)
    log.debug({ userId, sessionId: claim.sessionId }, 'session opened')
    return pairOf(access, claim, firstSeconds)
  }

  async function insert (on: Sql, { id, epoch }: Verified, { sessionId, nonce }: RefreshClaim, { address, headers }: Device) {
    // A statement sees what was committed before it began, so that the lock has one of its own.
    const [opened] = await on.batch<{ evicted: string[] }>([`${UNCHANGED} for no key update`, [id, epoch]], [`
      with unchanged as (${UNCHANGED}), surplus as (
        select id from sessions
        where user_id = (select id from unchanged) and revoked_at is null and expires_at > now() and idle_expires_at > now()
        order by last_seen_at desc, id desc offset $3
      ), evicted as (
        update sessions set revoked_at = now(), revoked_reason = $4 where id in (select id from surplus) and revoked_at is null returning id
      ), noted as (
        insert into revocations (session_id) select id from evicted
      ), opened as (
        insert into sessions (id, user_id, nonce_hash, idle_expires_at, expires_at, ip, user_agent)
        select $5, id, $6, now() + make_interval(secs => $7), now() + make_interval(secs => $8), $9, $10 from unchanged
      )
      select array(select id::text from evicted) as evicted from unchanged`,
    [id, epoch, limit - 1, EVICTED, sessionId, sha256(nonce), firstSeconds, absoluteSeconds, address, headers['user-agent']?.slice(0, USER_AGENT_LENGTH)]])
    if (!opened) throw new InvalidCredentials()
    return opened.evicted
  }

  async function end (id: string, userId: string, reason: string) {
    const revoked = await db.query<{ id: string }>(`
      with revoked as (
        update sessions set revoked_at = now(), revoked_reason = $3 where id = $1 and user_id = $2 and revoked_at is null returning id
      ), noted as (
        insert into revocations (session_id) select id from revoked
      )
      select id from revoked`, [id, userId, reason])
    revocations.announce(revoked.map(({ id }) => id))
    if (revoked.length === 0) return false
    count('revoked', reason)
    log.debug({ userId, sessionId: id, reason }, 'session revoked')
    return true
  }

  /** Within a transaction: the user's row first, as `open` does, so that no login slips in between. Answers what is to be announced after the commit. */
  async function revokeUnderLock (tx: Sql, userId: string, reason: string, except: string | null = null): Promise<Ended> {
    await tx.query('select id from users where id = $1 for no key update', [userId])
    const revoked = await tx.query<{ id: string }>(`
      with revoked as (
        update sessions set revoked_at = now(), revoked_reason = $2
        where user_id = $1 and id is distinct from $3::uuid and revoked_at is null returning id
      ), noted as (
        insert into revocations (session_id) select id from revoked
      )
      select id from revoked`, [userId, reason, except])
    return { ids: revoked.map(({ id }) => id), userId, reason }
  }

  function announce ({ ids, userId, reason }: Ended) {
    revocations.announce(ids)
    count('revoked', reason, ids.length)
    log.debug({ userId, sessions: ids.length, reason }, 'sessions revoked')
  }

  function pairOf (access: Access, claim: RefreshClaim, seconds: number) {
    return { ...access, refreshToken: refreshTokens.sign(claim), tokenType: 'Bearer' as const, refreshExpiresIn: Math.floor(seconds) }
  }
}

export default fp(async (app) => {
  app.decorate('sessions', createSessions(app))
  app.purge.add({ table: 'sessions', first: NIL, endedAt: 'least(expires_at, idle_expires_at, revoked_at)', keepSeconds: KEEP_SECONDS })
}, { name: 'sessions', dependencies: ['address', 'config', 'db', 'deadline', 'gather', 'metrics', 'purge', 'revocations', 'slots', 'tokens'] })

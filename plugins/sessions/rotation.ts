import { InvalidRefreshToken } from '../errors.ts'
import { sha256, type RefreshClaim } from './refresh-token.ts'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Count } from './events.ts'

type Access = { accessToken: string, expiresIn: number }
type State = {
  sessionId: string
  userId: string
  generation: number
  isLive: boolean
  revokedReason: string | null
  rotatedAgoMs: number | null
  idleSecondsLeft: number
  /** Of the next generation; null where this statement did not make it. */
  advancedSecondsLeft: number | null
}
type Needs<Pair> = Pick<FastifyInstance, 'beyondDeadline' | 'config' | 'db' | 'gather' | 'slots' | 'tokens'> & {
  log: Pick<FastifyBaseLogger, 'debug' | 'warn'>
  pairOf: (access: Access, claim: RefreshClaim, refreshSeconds: number) => Pair
  end: (sessionId: string, userId: string, reason: string) => Promise<boolean>
  count: Count
}

const MOST_STATEMENTS = 4
const OUTAGE_MARGIN_MS = 5000
const STOLEN = 'reuse detected'
// As an integer of PostgreSQL has it, with its successor.
const MOST_GENERATIONS = 2 ** 31 - 2
// No session has it, and none is advanced to it.
const NONE = -1

/**
 * The exchange of a refresh token for the next pair. The parent of the current token gets the same successor again for as long as
 * the grace lasts; anything older is theft (RFC 9700 section 4.14.2), which ends the session.
 */
export function createRotation<Pair> ({ beyondDeadline, config, db, gather, slots, tokens, log, pairOf, end, count }: Needs<Pair>) {
  // One statement and one commit for all that come at a time, which take no longer than those of one. It waits for no session that
  // somebody else has locked: all would wait with it, and two that wait for each other would be a deadlock. While some of them are
  // under way the next one waits, and is for more: many that are for one each cost both sides more than a few.
  const statements = slots(MOST_STATEMENTS)
  const advanceTogether = gather((claims: RefreshClaim[]) => beyondDeadline(async () => {
    const bySession = new Map(claims.map((claim) => [claim.sessionId, claim]))
    const states = await advance([...bySession.values()], 'skip locked')
    return new Map(states.map((state) => [bySession.get(state.sessionId)!, state]))
  }), (work) => beyondDeadline(() => statements.pass(work, config.DB_CONNECT_TIMEOUT)))

  return { rotate, endIfStolen }

  async function rotate (claim: RefreshClaim) {
    if (claim.generation > MOST_GENERATIONS) throw new InvalidRefreshToken()
    let state = await advanceTogether(claim) ?? await advanceAlone(claim)
    // Who loses a race looks again at what the winner left, and is judged by that.
    while (state && isUndecided(claim, state)) state = await advanceAlone(claim)
    if (state && isStolen(claim, state)) return endStolen(claim, state)
    if (!state?.isLive) throw new InvalidRefreshToken()
    const event = isAdvanced(state) ? claim.generation > state.generation ? 'recovered' : 'refreshed' : 'replayed'
    const secondsLeft = state.advancedSecondsLeft ?? state.idleSecondsLeft
    const access = tokens.sign({ id: state.userId, sessionId: claim.sessionId }, Math.ceil(secondsLeft))
    count(event)
    log.debug({ userId: state.userId, sessionId: claim.sessionId }, `session ${event}`)
    return pairOf(access, { ...claim, generation: isAdvanced(state) ? claim.generation + 1 : state.generation }, secondsLeft)
  }

  /**
   * Judges a token that is not exchanged, as `rotate` would: else a thief who keeps the limit of the session used up would not be
   * found out, since what the owner presents would be refused unread.
   */
  async function endIfStolen (claim: RefreshClaim) {
    const state = await advanceAlone({ ...claim, generation: NONE })
    if (state && isStolen(claim, state)) await endStolen(claim, state)
  }

  async function advanceAlone (claim: RefreshClaim) {
    const [state] = await advance([claim])
    return state
  }

  /**
   * The sessions as they were, whatever their state, else a reused token would never be seen; and in the same statement their next
   * generations. One winner: of many that present the current token, one finds its generation still there.
   * A token ahead of the row was signed by us and its rotation lost with a standby that lagged: the row catches up.
   */
  function advance (claims: RefreshClaim[], whereLocked: '' | 'skip locked' = '') {
    return db.query<State>(`
      with found as (
        select s.id, s.user_id, s.generation, s.rotated_at, s.idle_expires_at, s.revoked_reason, presented,
               s.revoked_at is null and s.expires_at > now() and s.idle_expires_at > now() and u.disabled_at is null as is_live
        from unnest($1::uuid[], $2::bytea[], $3::integer[]) as claim (id, nonce_hash, presented)
        join sessions s on s.id = claim.id and s.nonce_hash = claim.nonce_hash
        join users u on u.id = s.user_id
      ), taken as (
        select s.id, presented
        from found join sessions s on s.id = found.id
        where is_live and s.generation <= presented and s.revoked_at is null and s.expires_at > now() and s.idle_expires_at > now()
        for no key update of s ${whereLocked}
      ), advanced as (
        update sessions s
        set generation = presented + 1, rotated_at = now(), last_seen_at = now(), idle_expires_at = least(now() + make_interval(secs => $4), s.expires_at)
        from taken
        where s.id = taken.id
        returning s.id, s.idle_expires_at
      )
      select found.id as "sessionId", found.user_id as "userId", found.generation, found.is_live as "isLive", found.revoked_reason as "revokedReason",
             (extract(epoch from now() - found.rotated_at) * 1000)::float8 as "rotatedAgoMs",
             extract(epoch from found.idle_expires_at - now())::float8 as "idleSecondsLeft",
             extract(epoch from advanced.idle_expires_at - now())::float8 as "advancedSecondsLeft"
      from found left join advanced on advanced.id = found.id`,
    [claims.map(({ sessionId }) => sessionId), claims.map(({ nonce }) => sha256(nonce)), claims.map(({ generation }) => generation), config.REFRESH_IDLE_TTL])
  }

  // Whether or not the session has ended meanwhile, which a thief can see to.
  function isStolen (claim: RefreshClaim, state: State) {
    return !isAdvanced(state) && claim.generation < state.generation && !isRetry(claim, state)
  }

  function isRetry ({ generation }: RefreshClaim, { generation: current, rotatedAgoMs }: State) {
    if (generation !== current - 1 || rotatedAgoMs === null) return false
    const graceMs = config.REFRESH_GRACE_SECONDS * 1000
    if (rotatedAgoMs <= graceMs) return true
    // A client could not retry while PostgreSQL was away.
    const outage = db.lastOutage()
    return outage !== undefined && outage.endedAgoMs <= graceMs &&
      rotatedAgoMs >= outage.endedAgoMs && rotatedAgoMs <= outage.startedAgoMs + OUTAGE_MARGIN_MS
  }

  /** It is told of once; also where nobody answers whether it was noted, since the next time it may have been. */
  async function endStolen ({ sessionId, generation }: RefreshClaim, { userId, generation: current, revokedReason }: State): Promise<never> {
    let isNews = revokedReason !== STOLEN
    try {
      if (isNews) isNews = await end(sessionId, userId, STOLEN) || await note(sessionId)
    } finally {
      if (isNews) {
        count('reuse_detected')
        log.warn({ userId, sessionId, generation, current }, 'refresh token reuse detected, session revoked')
      }
    }
    throw new InvalidRefreshToken()
  }

  /** Of a session that had ended before. */
  async function note (sessionId: string) {
    const noted = await db.query('update sessions set revoked_reason = $2 where id = $1 and revoked_reason <> $2 returning id', [sessionId, STOLEN])
    return noted.length > 0
  }
}

const isAdvanced = (state: State) => state.advancedSecondsLeft !== null
const isUndecided = ({ generation }: RefreshClaim, state: State) => state.isLive && !isAdvanced(state) && generation >= state.generation

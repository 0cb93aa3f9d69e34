import { InvalidRefreshToken } from '../errors.ts'
import { sha256, type RefreshClaim } from './refresh-token.ts'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Count } from './events.ts'

type Access = { accessToken: string, expiresIn: number }
type State = {
  userId: string
  generation: number
  isLive: boolean
  rotatedAgoMs: number | null
  secondsLeft: number
  idleSecondsLeft: number
  /** Of the next generation; null where this statement did not make it. */
  advancedSecondsLeft: number | null
}
type Needs<Pair> = Pick<FastifyInstance, 'config' | 'db' | 'tokens'> & {
  log: Pick<FastifyBaseLogger, 'debug' | 'warn'>
  pairOf: (access: Access, claim: RefreshClaim, refreshSeconds: number) => Pair
  end: (sessionId: string, userId: string, reason: string) => Promise<boolean>
  count: Count
}

const OUTAGE_MARGIN_MS = 5000
// As an integer of PostgreSQL has it, with its successor.
const MOST_GENERATIONS = 2 ** 31 - 2

/**
 * The exchange of a refresh token for the next pair. The parent of the current token gets the same successor again for as long as
 * the grace lasts; anything older is theft (RFC 9700 section 4.14.2), which ends the session.
 */
export function createRotation<Pair> ({ config, db, tokens, log, pairOf, end, count }: Needs<Pair>) {
  return rotate

  async function rotate (claim: RefreshClaim) {
    if (claim.generation > MOST_GENERATIONS) throw new InvalidRefreshToken()
    // Who loses a race looks again at what the winner left, and is judged by that.
    for (;;) {
      const state = await advance(claim)
      if (!state?.isLive) throw new InvalidRefreshToken()
      const isAdvanced = state.advancedSecondsLeft !== null
      if (!isAdvanced && claim.generation >= state.generation) continue
      if (!isAdvanced && !isRetry(claim, state)) return endStolen(claim, state)
      const event = isAdvanced ? claim.generation > state.generation ? 'recovered' : 'refreshed' : 'replayed'
      const access = tokens.sign({ id: state.userId, sessionId: claim.sessionId }, Math.ceil(state.secondsLeft))
      count(event)
      log.debug({ userId: state.userId, sessionId: claim.sessionId }, `session ${event}`)
      return isAdvanced
        ? pairOf(access, { ...claim, generation: claim.generation + 1 }, state.advancedSecondsLeft!)
        : pairOf(access, { ...claim, generation: state.generation }, state.idleSecondsLeft)
    }
  }

  /**
   * The session as it was, whatever its state, else a reused token would never be seen; and in the same statement its next generation.
   * One winner: of many that present the current token, one finds its generation still there.
   * A token ahead of the row was signed by us and its rotation lost with a standby that lagged: the row catches up.
   */
  async function advance ({ sessionId, generation, nonce }: RefreshClaim) {
    const [state] = await db.query<State>(`
      with found as (
        select s.id, s.user_id, s.generation, s.rotated_at, s.expires_at, s.idle_expires_at,
               s.revoked_at is null and s.expires_at > now() and s.idle_expires_at > now() and u.disabled_at is null as is_live
        from sessions s join users u on u.id = s.user_id
        where s.id = $1 and s.nonce_hash = $2
      ), advanced as (
        update sessions s
        set generation = $3 + 1, rotated_at = now(), last_seen_at = now(), idle_expires_at = least(now() + make_interval(secs => $4), s.expires_at)
        from found
        where s.id = $1 and found.is_live and s.generation <= $3
          and s.revoked_at is null and s.expires_at > now() and s.idle_expires_at > now()
        returning s.idle_expires_at
      )
      select found.user_id as "userId", found.generation, found.is_live as "isLive",
             (extract(epoch from now() - found.rotated_at) * 1000)::float8 as "rotatedAgoMs",
             extract(epoch from found.expires_at - now())::float8 as "secondsLeft",
             extract(epoch from found.idle_expires_at - now())::float8 as "idleSecondsLeft",
             extract(epoch from advanced.idle_expires_at - now())::float8 as "advancedSecondsLeft"
      from found left join advanced on true`, [sessionId, sha256(nonce), generation, config.REFRESH_IDLE_TTL])
    return state
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

  async function endStolen ({ sessionId, generation }: RefreshClaim, { userId, generation: current }: State): Promise<never> {
    await end(sessionId, userId, 'reuse detected')
    count('reuse_detected')
    log.warn({ userId, sessionId, generation, current }, 'refresh token reuse detected, session revoked')
    throw new InvalidRefreshToken()
  }
}

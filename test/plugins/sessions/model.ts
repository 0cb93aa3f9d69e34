/**
 * Sessions as they should be: the specification of what `plugins/sessions`, `users` and `guards` do together, without I/O and one
 * thing at a time. Time passes in ticks; all limits end half-way between two, so that the time a test takes decides nothing.
 */
export const SESSION_LIMIT = 3
export const GRACE = 1.5
export const ACCESS = 7.5
export const IDLE = 17.5
export const ABSOLUTE = 25.5
export const SKEW = 0.15
/** Rows that ended so long ago may be gone, or not yet. */
export const KEPT = 432

export type Session = { id: string, generation: number, isRevoked: boolean, seen: number, rotatedAt: number | null, idleUntil: number, until: number }
export type Account = { password: string, isDisabled: boolean, sessions: Session[] }
/** `clock` orders what happens at one tick. */
export type World = { now: number, clock: number, keys: number[], accounts: Record<string, Account> }

export type AccessToken = { sessionId: string, key: number, until: number }
type RefreshToken = { sessionId: string, generation: number, isGenuine: boolean }
export type Answer = { status: number, generation?: number }

/** A request has two moments, between which others may act: it arrives, and is let in or not; then it acts, all at once. */
export type Operation<Memo = unknown> = { arrive?: (world: World) => Memo, act: (world: World, memo: Memo) => Answer }

export const register = (who: string, password: string, id: string): Operation => ({
  act (world) {
    if (world.accounts[who]) return { status: 409 }
    world.accounts[who] = { password, isDisabled: false, sessions: [] }
    open(world, world.accounts[who], id)
    return { status: 201 }
  }
})

/** Who has as many sessions as may be loses the one that was seen least lately, by what was known when the login arrived. */
export const logIn = (who: string, password: string, id: string): Operation<Record<string, number>> => ({
  arrive: ({ accounts }) => Object.fromEntries(accounts[who]?.sessions.map(({ id, seen }) => [id, seen]) ?? []),
  act (world, known) {
    const account = world.accounts[who]
    if (!account || account.isDisabled || account.password !== password) return { status: 401 }
    const seen = (session: Session) => known[session.id] ?? session.seen
    revoke(aliveOf(world, account).sort((a, b) => seen(b) - seen(a)).slice(SESSION_LIMIT - 1))
    open(world, account, id)
    return { status: 200 }
  }
})

/** The current token is exchanged for the next one; its parent, within the grace, for the same one; what is older ends the session. */
export const refresh = ({ sessionId, generation, isGenuine }: RefreshToken): Operation<number> => ({
  arrive: (world) => world.clock++,
  act (world, seen) {
    const session = find(world, sessionId)
    if (!isGenuine || !session || !isAlive(world, session)) return { status: 401 }
    if (generation < session.generation) {
      const isRetry = generation === session.generation - 1 && world.now < session.rotatedAt! + GRACE
      if (isRetry) return { status: 200, generation: session.generation }
      revoke([session])
      return { status: 401 }
    }
    // A token of ours that is ahead of the row is one whose rotation was lost with a standby.
    Object.assign(session, { generation: generation + 1, seen, rotatedAt: world.now, idleUntil: Math.min(world.now + IDLE, session.until) })
    return { status: 200, generation: generation + 1 }
  }
})

export const logOut = (token: AccessToken): Operation<boolean> => ({
  arrive: (world) => isOurs(world, token),
  act (world, isLetIn) {
    if (!isLetIn) return { status: 401 }
    revoke([find(world, token.sessionId)])
    return { status: 204 }
  }
})

export const endSession = (token: AccessToken, id: string) => guarded(token, (account) => {
  const session = account?.sessions.find((session) => session.id === id && !session.isRevoked)
  revoke([session])
  return { status: session ? 204 : 404 }
})

export const endSessions = (token: AccessToken, isAll: boolean) => guarded(token, (account) => {
  revoke(account?.sessions.filter(({ id }) => isAll || id !== token.sessionId))
  return { status: 204 }
})

export const changePassword = (token: AccessToken, current: string, next: string) => guarded(token, (account) => {
  if (!account || account.isDisabled || account.password !== current) return { status: 401 }
  account.password = next
  revoke(account.sessions.filter(({ id }) => id !== token.sessionId))
  return { status: 204 }
})

export const leave = (token: AccessToken, password: string) => guarded(token, (account, world) => {
  if (!account || account.isDisabled || account.password !== password) return { status: 401 }
  for (const who in world.accounts) if (world.accounts[who] === account) delete world.accounts[who]
  return { status: 204 }
})

export const disable = (who: string) => always(({ accounts }) => {
  if (!accounts[who]) return
  accounts[who].isDisabled = true
  revoke(accounts[who].sessions)
})
export const enable = (who: string) => always(({ accounts }) => { if (accounts[who]) accounts[who].isDisabled = false })
export const pass = (ticks: number) => always((world) => { world.now += ticks })
/** The newest key signs, all verify; replaced is the oldest. */
export const addKey = always(({ keys }) => keys.push(keys.at(-1)! + 1))
export const replaceKey = always(({ keys }) => { keys.push(keys.at(-1)! + 1); keys.shift() })

/** Whether an access token opens the door: for as long as it says, unless its session was ended or its key withdrawn. */
export function isAccepted (world: World, token: AccessToken) {
  return isOurs(world, token) && find(world, token.sessionId)?.isRevoked === false
}

/** What a session that lasts until then is given when it is opened or refreshed; it outlives the session by no more than the skew of clocks. */
export const accessOf = ({ now, keys }: World, sessionId: string, until = now + ABSOLUTE): AccessToken =>
  ({ sessionId, key: keys.at(-1)!, until: Math.min(now + ACCESS, until + SKEW) })

/** The live sessions of an account, the one seen last first. */
export const aliveOf = (world: World, { sessions }: Account) => sessions.filter((session) => isAlive(world, session)).sort((a, b) => b.seen - a.seen)

export function isLive (world: World, sessionId: string) {
  const session = find(world, sessionId)
  return session !== undefined && isAlive(world, session)
}

const find = ({ accounts }: World, id: string) => Object.values(accounts).flatMap(({ sessions }) => sessions).find((session) => session.id === id)
const isAlive = ({ now }: World, { isRevoked, idleUntil, until }: Session) => !isRevoked && now < Math.min(idleUntil, until)
const isOurs = ({ now, keys }: World, { key, until }: AccessToken) => now < until && keys.includes(key)

function open (world: World, { sessions }: Account, id: string) {
  const { now } = world
  sessions.push({ id, generation: 0, isRevoked: false, seen: world.clock++, rotatedAt: null, idleUntil: now + IDLE, until: now + ABSOLUTE })
}

function revoke (sessions: (Session | undefined)[] = []) {
  for (const session of sessions) if (session) session.isRevoked = true
}

function guarded (token: AccessToken, act: (account: Account | undefined, world: World) => Answer): Operation<boolean> {
  return {
    arrive: (world) => isAccepted(world, token),
    act: (world, isLetIn) => isLetIn ? act(Object.values(world.accounts).find(({ sessions }) => sessions.some(({ id }) => id === token.sessionId)), world) : { status: 401 }
  }
}

function always (act: (world: World) => unknown): Operation {
  return { act: (world) => { act(world); return { status: 204 } } }
}

import { randomUUID } from 'node:crypto'
import { sessionIdOf } from './persona.ts'
import type { Answer } from './connection.ts'

export const SESSION_LIMIT = 4

export type Account = { email: string, password: string, displayName: string | null, isThere: boolean }
export type Session = { account: Account, id: string, accessToken: string, refreshTokens: string[], isAlive: boolean, lastSeen: number }

/** What the service should know by now: accounts, and the sessions that were ever opened. */
export function createWorld () {
  const accounts: Account[] = Array.from({ length: 3 }, () => ({ email: `fuzz-${randomUUID()}@example.com`, password: 'correct horse 0', displayName: null, isThere: false }))
  const sessions: Session[] = []
  let clock = 0

  return { accounts, sessions, pick, aliveOf, see, open, end }

  /** A session that is alive, or for odd numbers any; undefined while there is none. */
  function pick (number: number): Session | undefined {
    const alive = sessions.filter(({ isAlive }) => isAlive)
    return number % 2 === 0 && alive.length > 0 ? alive[number / 2 % alive.length] : sessions[number % sessions.length]
  }

  /** The live sessions of an account, the one seen last first. */
  function aliveOf (account: Account) {
    return sessions.filter((session) => session.isAlive && session.account === account).sort((a, b) => b.lastSeen - a.lastSeen)
  }

  function see (session: Session) {
    session.lastSeen = clock++
  }

  /** Notes the session that an answer brings; whoever has too many loses the one that was idle for longest. */
  function open (account: Account, { body }: Answer) {
    const { accessToken, refreshToken } = JSON.parse(body)
    const session = { account, id: sessionIdOf(accessToken), accessToken, refreshTokens: [refreshToken], isAlive: true, lastSeen: clock++ }
    sessions.push(session)
    end(aliveOf(account).slice(SESSION_LIMIT))
  }

  function end (ended: Session[]) {
    for (const session of ended) session.isAlive = false
  }
}

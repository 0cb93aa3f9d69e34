import { performance } from 'node:perf_hooks'
import type { Replica } from './fleet.ts'

/** A session as its client knows it. */
export type Session = {
  id: string
  email: string
  headers: { authorization: string }
  refreshToken: string
  state: 'alive' | 'in doubt' | 'ended'
  /** When its end was acknowledged. */
  endedAt: number
  /** Whether somebody who knows of its end has reached Redis. */
  isTold: boolean
}
type Sample = { at: string, session: string, state: Session['state'], status: number, lateMs: number, overdueMs: number }
type Pair = { accessToken: string, refreshToken: string }

const BOUND_MS = 1000
const ALIVE = { state: 'alive', endedAt: Infinity, isTold: true } as const

/** What clients were told, and what they were answered. */
export function createLedger () {
  const sessions = new Set<Session>()
  const samples: Sample[] = []

  return {
    note (email: string, { accessToken, refreshToken }: Pair): Session {
      const session = { ...ALIVE, ...read(accessToken), email, refreshToken }
      sessions.add(session)
      return session
    },

    /** Who has no session yet. */
    nobody: (email: string): Session => ({ ...ALIVE, id: email, email, headers: { authorization: '' }, refreshToken: '' }),

    renew (session: Session, { accessToken, refreshToken }: Pair) {
      Object.assign(session, read(accessToken), { refreshToken })
    },

    end (session: Session, isTold: boolean) {
      Object.assign(session, { state: 'ended', endedAt: performance.now(), isTold })
    },

    /** What PostgreSQL says of one that may have ended. */
    resolve (session: Session, isAlive: boolean) {
      Object.assign(session, isAlive ? ALIVE : { state: 'ended', endedAt: performance.now(), isTold: false })
    },

    sample ({ name, knowsSince }: Replica, { id, state, endedAt, isTold }: Session, sentAt: number, status: number) {
      const dueAt = (isTold ? endedAt : Math.max(endedAt, knowsSince)) + BOUND_MS
      samples.push({ at: name, session: id, state, status, lateMs: sentAt - endedAt, overdueMs: sentAt - dueAt })
    },

    in: (state: Session['state']) => [...sessions].filter((session) => session.state === state),

    /** The samples so far, which begin anew. */
    settle: () => samples.splice(0)
  }
}

export type Ledger = ReturnType<typeof createLedger>

/**
 * What must never be. A request is judged by when it was sent: the service trusts what it read before it was asked, however busy this
 * process is, so that a busy machine needs no allowance.
 */
export const isWrong = ({ state, status, overdueMs }: Sample) =>
  ![200, 204, 401, 503].includes(status) || (state === 'alive' && status === 401) || (status === 200 && overdueMs > 0)

export const latestLetIn = (samples: Sample[]) =>
  Math.round(Math.max(0, ...samples.filter(({ state, status }) => state === 'ended' && status === 200).map(({ lateMs }) => lateMs)))

function read (accessToken: string) {
  const { sid } = JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString())
  return { id: sid as string, headers: { authorization: `Bearer ${accessToken}` } }
}

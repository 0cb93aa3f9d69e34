import { randomUUID } from 'node:crypto'
import { PASSWORD } from '../../helper.ts'
import type { Answer, Question } from './client.ts'

type Session = { generation: number, isAlive: boolean }
export type Pair = { accessToken: string, refreshToken: string }

/** An account as PostgreSQL should have it. `opening` sessions are there whose ids nobody was told. */
export type Account = { email: string, isThere: boolean, epoch: number, displayName: string | null, password: string, sessions: Map<string, Session>, opening: number }

/** A client with an account of its own, which does one thing after another. `untold` sessions have ended, and nobody was told. */
export type Life = { account: Account, tokens: Map<string, Pair>, doubt: Attempt | undefined, untold: Set<string> }

/** A write: what is asked, what it is answered when it is done, and what PostgreSQL has then. */
export type Attempt = { what: string, question: Question, done: number, change: (account: Account) => void }
type Begin = (life: Life, session: string) => Omit<Attempt, 'what'>

export const born = (): Life => ({
  account: { email: `life-${randomUUID()}@example.com`, isThere: false, epoch: 0, displayName: null, password: PASSWORD, sessions: new Map(), opening: 0 },
  tokens: new Map(),
  doubt: undefined,
  untold: new Set()
})

/** The sessions that are alive and whose tokens the client has. */
export const alive = ({ account, tokens }: Life) => [...tokens.keys()].filter((id) => account.sessions.get(id)?.isAlive)

/** What this client does next: anything that it can. */
export function next (life: Life): Attempt {
  const sessions = alive(life)
  const session = any(sessions) ?? ''
  const what = !life.account.isThere ? 'register' : sessions.length === 0 ? 'login' : any(OFTEN)!
  return { what, ...verbs[what]!(life, session) }
}

const register: Begin = ({ account: { email, password } }) => ({
  question: { method: 'POST', path: '/auth/register', body: { email, password } },
  done: 201,
  change (account) {
    account.isThere = true
    account.opening++
  }
})

const login: Begin = ({ account: { email, password } }) =>
  ({ question: { method: 'POST', path: '/auth/login', body: { email, password } }, done: 200, change (account) { account.opening++ } })

const refresh: Begin = ({ tokens }, session) => ({
  question: { method: 'POST', path: '/auth/refresh', body: { refreshToken: tokens.get(session)!.refreshToken } },
  done: 200,
  change ({ sessions }) { sessions.get(session)!.generation++ }
})

const rename: Begin = ({ tokens }, session) => {
  const displayName = randomUUID()
  return {
    question: { method: 'PATCH', path: '/me', token: tokens.get(session)!.accessToken, body: { displayName } },
    done: 200,
    change (account) { account.displayName = displayName }
  }
}

const changePassword: Begin = ({ account: { password }, tokens }, session) => {
  const newPassword = randomUUID()
  return {
    question: { method: 'PUT', path: '/me/password', token: tokens.get(session)!.accessToken, body: { currentPassword: password, newPassword } },
    done: 204,
    change (account) {
      account.epoch++
      account.password = newPassword
      end(account, (id) => id !== session)
    }
  }
}

const logout: Begin = ({ tokens }, session) => ({
  question: { method: 'POST', path: '/auth/logout', token: tokens.get(session)!.accessToken },
  done: 204,
  change (account) { end(account, (id) => id === session) }
})

const endOthers: Begin = ({ tokens }, session) => ({
  question: { method: 'DELETE', path: '/me/sessions', token: tokens.get(session)!.accessToken },
  done: 204,
  change (account) { end(account, (id) => id !== session) }
})

const remove: Begin = ({ account: { password }, tokens }, session) => ({
  question: { method: 'DELETE', path: '/me', token: tokens.get(session)!.accessToken, body: { password } },
  done: 204,
  change (account) {
    account.isThere = false
    end(account, () => true)
  }
})

const verbs: Record<string, Begin> = { register, login, refresh, rename, changePassword, logout, endOthers, remove }
const OFTEN = ['login', 'login', 'login', 'refresh', 'refresh', 'refresh', 'rename', 'rename', 'changePassword', 'changePassword', 'logout', 'endOthers', 'remove']

/** What a client learns from the answer to what it did. */
export function learn (life: Life, { change }: Attempt, { body }: Answer) {
  change(life.account)
  if (!body.refreshToken) return
  const id = keep(life, body)
  if (life.account.opening === 0) return
  life.account.opening = 0
  life.account.sessions.set(id, { generation: 0, isAlive: true })
}

/** Keeps the tokens of a session, and says which one it is. */
export function keep (life: Life, { accessToken, refreshToken }: Pair): string {
  const { sid } = JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString())
  life.tokens.set(sid, { accessToken, refreshToken })
  return sid
}

/** Which token of its session it is. */
export const generationOf = (refreshToken: string) => Buffer.from(refreshToken.slice('rt1.'.length), 'base64url').readUInt32BE(16)

function end ({ sessions }: Account, whether: (id: string) => boolean) {
  for (const [id, session] of sessions) if (whether(id)) session.isAlive = false
}

const any = <Item>(items: Item[]) => items[Math.floor(Math.random() * items.length)]

import { randomBytes, randomUUID } from 'node:crypto'
import * as model from '../model.ts'
import { KNOWN_SECRETS, type Request, type Response, type Service } from './replicas.ts'
import { FOREIGN_SECRET, refreshTokenOf } from './tokens.ts'

export type Who = 'ada' | 'bob'
/** What a client knows of a session. */
export type Known = { who: Who, nonce: Buffer, generation: number, until: number, access: (model.AccessToken & { text: string })[] }
/** Two people, how the world should be, what they know of their sessions, which of those are dead, and what has happened. */
export type Life = { world: model.World, known: Map<string, Known>, dead: Set<string>, emails: Record<Who, string>, trace: string[] }

export const FLAWS = ['none', 'mac', 'nonce', 'session'] as const
export type Name = keyof typeof ACTIONS
export type Draft = { name: Name, who: Who, session: number, other: number, age: number, isRight: boolean, flaw: typeof FLAWS[number], replica: number, secret: number }

/** What is done, and what that should come to; who opens a session learns its id from the answer. */
export type Command = { told: string, operation: (openedId: string) => model.Operation<any> } & ({ request: Request } | { change: (service: Service) => Promise<Response> })
type Action = (life: Life, draft: Draft) => Command | undefined
type OnSession = (life: Life, draft: Draft, token: Known['access'][number], password: string) => Command

const FIRST = 'correct horse'
const WRONG = 'a wrong password'

export const ACTIONS = {
  signIn ({ world, emails }, { who, isRight }) {
    const account = world.accounts[who]
    const password = account && !isRight ? WRONG : account?.password ?? FIRST
    return {
      told: `${who} ${account ? 'logs in' : 'registers'} with ${password}`,
      request: { method: 'POST', path: account ? '/auth/login' : '/auth/register', body: { email: emails[who], password } },
      operation: (id) => account ? model.logIn(who, password, id) : model.register(who, password, id)
    }
  },

  refresh (life, { session, other, age, flaw, replica, secret }) {
    const sessionId = pick(life, session)
    if (!sessionId) return undefined
    const { nonce, generation } = life.known.get(sessionId)!
    const claim = { sessionId, nonce, generation: Math.max(0, generation + age) }
    const another = pick(life, other)!
    if (flaw === 'nonce') claim.nonce = randomBytes(16)
    if (flaw === 'session') claim.sessionId = another === sessionId ? randomUUID() : another
    const isGenuine = flaw === 'none' && KNOWN_SECRETS[replica]!.includes(secret)
    return {
      told: `${short(claim.sessionId)} refreshes with generation ${claim.generation}, ${flaw === 'none' ? `secret ${secret}` : `forged: ${flaw}`}`,
      request: { method: 'POST', path: '/auth/refresh', body: { refreshToken: refreshTokenOf(claim, flaw === 'mac' ? FOREIGN_SECRET : secret) } },
      operation: () => model.refresh({ ...claim, isGenuine })
    }
  },

  logOut: onSession((life, draft, token) => ({
    told: 'logs out',
    request: { method: 'POST', path: '/auth/logout' },
    operation: () => model.logOut(token)
  })),

  endSession: onSession((life, { other }, token) => {
    const id = pick(life, other)!
    return { told: `ends ${short(id)}`, request: { method: 'DELETE', path: `/me/sessions/${id}` }, operation: () => model.endSession(token, id) }
  }),

  endSessions: onSession((life, { isRight: isAll }, token) => ({
    told: `ends all ${isAll ? '' : 'other '}sessions`,
    request: { method: 'DELETE', path: `/me/sessions${isAll ? '?all=true' : ''}` },
    operation: () => model.endSessions(token, isAll)
  })),

  changePassword: onSession((life, draft, token, currentPassword) => {
    const newPassword = `${FIRST} ${randomUUID()}`
    return {
      told: `changes the password from ${currentPassword} to ${newPassword}`,
      request: { method: 'PUT', path: '/me/password', body: { currentPassword, newPassword } },
      operation: () => model.changePassword(token, currentPassword, newPassword)
    }
  }),

  leave: onSession((life, draft, token, password) => ({
    told: `deletes the account with ${password}`,
    request: { method: 'DELETE', path: '/me', body: { password } },
    operation: () => model.leave(token, password)
  })),

  disable: ({ emails }, { who }) => ({ told: `${who} is disabled`, change: ({ disable }) => disable(emails[who]), operation: () => model.disable(who) }),
  enable: ({ emails }, { who }) => ({ told: `${who} is enabled`, change: ({ enable }) => enable(emails[who]), operation: () => model.enable(who) })
} satisfies Record<string, Action>

/** A session that is alive, or for odd numbers any that ever was; undefined while there is none. */
function pick ({ world, known }: Life, number: number): string | undefined {
  const all = [...known.keys()]
  const alive = Object.values(world.accounts).flatMap((account) => model.aliveOf(world, account).map(({ id }) => id))
  return number % 2 === 0 && alive.length > 0 ? alive[number / 2 % alive.length] : all[number % all.length]
}

/** What is done with an access token of a session, mostly its latest; while there is no session, nothing is. */
function onSession (action: OnSession): Action {
  return (life, draft) => {
    const id = pick(life, draft.session)
    if (!id) return undefined
    const { who, access } = life.known.get(id)!
    const token = access.at(Math.min(-1, draft.age)) ?? access[0]!
    const password = draft.isRight ? life.world.accounts[who]?.password ?? FIRST : WRONG
    const { told, request, operation } = action(life, draft, token, password) as Command & { request: Request }
    return { told: `${short(id)} of ${who} ${told}`, request: { ...request, accessToken: token.text }, operation }
  }
}

/** The end of an id, which is random. */
export const short = (id: string) => id.slice(-4)

import type { Answer } from './connection.ts'
import type { createWorld, Session } from './world.ts'

type World = ReturnType<typeof createWorld>
export type Step = { who: number, session: number, other: number, isRight: boolean, age: number, name: string | null, condition: keyof typeof CONDITIONS }
/** Asks, and throws unless this is the status of the answer. */
export type Expect = (status: number, method: string, target: string, body?: object, accessToken?: string, headers?: [string, string][]) => Promise<Answer>
type Action = (world: World, step: Step, expect: Expect) => Promise<unknown>
type OnSession = (world: World, step: Step, expect: Expect, session: Session) => Promise<unknown>

const WRONG = 'a wrong password'
const CONDITIONS = {
  none: [200, () => undefined],
  any: [200, () => '*'],
  current: [200, (etag: string) => `"x", ${etag}`],
  stale: [412, () => '"stale"'],
  weak: [412, (etag: string) => `W/${etag}`]
} as const
export const CONDITION_NAMES = Object.keys(CONDITIONS) as Step['condition'][]

/** What users do, and what should come of it. */
export const ACTIONS = {
  async register (world, { who }, expect) {
    const account = world.accounts[who]!
    const { email, password } = account
    const answer = await expect(account.isThere ? 409 : 201, 'POST', '/auth/register', { email: email.toUpperCase(), password })
    if (account.isThere) return
    Object.assign(account, { isThere: true, displayName: null })
    world.open(account, answer)
  },

  async logIn (world, { who, isRight }, expect) {
    const account = world.accounts[who]!
    const succeeds = account.isThere && isRight
    const answer = await expect(succeeds ? 200 : 401, 'POST', '/auth/login', { email: ` ${account.email}`, password: isRight ? account.password : WRONG })
    if (succeeds) world.open(account, answer)
  },

  refresh: onSession(async (world, { age }, expect, session) => {
    const { refreshTokens, isAlive } = session
    const presented = refreshTokens.at(-1 - age) ?? refreshTokens[0]
    const isStolen = refreshTokens.indexOf(presented!) < refreshTokens.length - 2
    const { body } = await expect(isAlive && !isStolen ? 200 : 401, 'POST', '/auth/refresh', { refreshToken: presented })
    if (!isAlive) return
    if (isStolen) return world.end([session])
    const pair = JSON.parse(body)
    session.accessToken = pair.accessToken
    if (presented !== refreshTokens.at(-1)) return same(pair.refreshToken, refreshTokens.at(-1), 'a retry gets the successor')
    refreshTokens.push(pair.refreshToken)
    world.see(session)
  }),

  // Which may be repeated, so that it takes a token that is worthless.
  logOut: onSession(async (world, _, expect, session) => {
    await expect(204, 'POST', '/auth/logout', undefined, session.accessToken)
    world.end([session])
  }),

  look: onSession(async (_, __, expect, { account, accessToken, isAlive }) => {
    const { body } = await expect(isAlive ? 200 : 401, 'GET', '/me', undefined, accessToken)
    if (!isAlive) return
    const { user } = JSON.parse(body)
    same(user.displayName, account.displayName, 'the display name')
    same(user.email.toLowerCase(), account.email, 'the address')
  }),

  rename: onSession(async (_, { name, condition }, expect, { account, accessToken, isAlive }) => {
    const me = await expect(isAlive ? 200 : 401, 'GET', '/me', undefined, accessToken)
    const [status, headerOf] = CONDITIONS[condition]
    const ifMatch = headerOf(me.headers.etag ?? '')
    await expect(isAlive ? status : 401, 'PATCH', '/me', { displayName: name }, accessToken, ifMatch === undefined ? [] : [['If-Match', ifMatch]])
    if (isAlive && status === 200) account.displayName = name?.trim() ?? null
  }),

  changePassword: onSession(async (world, { isRight, age }, expect, session) => {
    const { account, accessToken, isAlive } = session
    const newPassword = `correct horse ${age}`
    const status = account.password === newPassword && isRight ? 400 : isRight ? 204 : 401
    await expect(isAlive ? status : 401, 'PUT', '/me/password', { currentPassword: isRight ? account.password : WRONG, newPassword }, accessToken)
    if (!isAlive || status !== 204) return
    account.password = newPassword
    world.end(world.aliveOf(account).filter((other) => other !== session))
  }),

  list: onSession(async (world, _, expect, { account, id, accessToken, isAlive }) => {
    const { body } = await expect(isAlive ? 200 : 401, 'GET', '/me/sessions', undefined, accessToken)
    if (!isAlive) return
    const listed = JSON.parse(body).sessions.map(({ id, current }: { id: string, current: boolean }) => `${id} ${current}`)
    same(listed.join(), world.aliveOf(account).map((session) => `${session.id} ${session.id === id}`).join(), 'the live sessions')
  }),

  revoke: onSession(async (world, { other }, expect, { account, accessToken, isAlive }) => {
    const ended = world.pick(other)!
    const isOurs = ended.account === account && ended.isAlive
    await expect(isAlive ? isOurs ? 204 : 404 : 401, 'DELETE', `/me/sessions/${ended.id}`, undefined, accessToken)
    if (isAlive && isOurs) world.end([ended])
  }),

  revokeAll: onSession(async (world, { isRight: isAll }, expect, session) => {
    await expect(session.isAlive ? 204 : 401, 'DELETE', `/me/sessions${isAll ? '?all=true' : ''}`, undefined, session.accessToken)
    if (session.isAlive) world.end(world.aliveOf(session.account).filter((other) => isAll || other !== session))
  }),

  leave: onSession(async (world, { isRight }, expect, { account, accessToken, isAlive }) => {
    await expect(isAlive && isRight ? 204 : 401, 'DELETE', '/me', { password: isRight ? account.password : WRONG }, accessToken)
    if (!isAlive || !isRight) return
    world.end(world.aliveOf(account))
    account.isThere = false
  })
} satisfies Record<string, Action>

/** An action of a session; where there is none yet, nothing happens. */
function onSession (action: OnSession): Action {
  return async (world, step, expect) => {
    const session = world.pick(step.session)
    if (session) await action(world, step, expect, session)
  }
}

function same (found: unknown, wanted: unknown, what: string) {
  if (found !== wanted) throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`)
}

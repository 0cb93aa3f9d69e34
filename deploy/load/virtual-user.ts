import { ACTIONS, type Action } from './mix.ts'

export type Account = { email: string, password: string }
export type Tokens = { accessToken: string, refreshToken: string, expiresAt: number }
export type Request = { action: Action, method: 'GET' | 'POST' | 'DELETE', path: string, headers: Record<string, string>, body?: string }
export type VirtualUser = ReturnType<typeof createVirtualUser>

const RENEW_BEFORE_MS = 10_000
const NAME_LENGTH = 16
/** What an account is made from: 40 characters as base64url. */
export const RANDOM_BYTES = 30
const JSON_BODY = { 'content-type': 'application/json' }

/** An account that nobody has; `random` is of 36 characters or more, none of which needs an escape. */
export const accountFrom = (random: string): Account =>
  ({ email: `load-${random.slice(0, NAME_LENGTH)}@example.com`, password: random.slice(NAME_LENGTH) })

/** What the service says of a new session. */
export function tokensFrom (body: string): Tokens {
  const { accessToken, refreshToken, expiresIn } = JSON.parse(body)
  return { accessToken, refreshToken, expiresAt: Date.now() + expiresIn * 1000 }
}

export const register = (account: Account) => requestOf('register', account)
export const logIn = (account: Account) => requestOf('login', account)
export const leave = ({ password }: Account, accessToken: string) => requestOf('leave', { password }, accessToken)

/** One client: it keeps its tokens as a good one does, and has one request on its way at a time. */
export function createVirtualUser (account: Account, newAccount: () => Account) {
  let tokens: Tokens | undefined
  let sent: Action | undefined
  let guestToken: string | undefined
  const accounts = [account]

  return {
    /** Its own, and those that it has registered and not deleted, as far as it knows. */
    accounts,

    /** Whether its next request deletes an account that it has registered. */
    get hasGuest () { return guestToken !== undefined },

    /** Leaves what it has registered, and may not have deleted, to whoever asks. */
    forgetGuests () {
      guestToken = undefined
      return accounts.splice(1)
    },

    /** The session that came with its account. */
    adopt (first: Tokens) {
      tokens = first
    },

    /** The request that is to be sent now: the one that is wanted, unless another one has to come first. */
    next (wanted: Action): Request {
      const action = due(wanted)
      sent = action
      switch (action) {
        case 'register': return register(accounts[accounts.push(newAccount()) - 1]!)
        case 'leave': return leave(accounts.at(-1)!, guestToken!)
        case 'login': return logIn(account)
        case 'refresh': return requestOf(action, { refreshToken: tokens!.refreshToken })
        case 'me': return requestOf(action, undefined, tokens!.accessToken)
        case 'health': return requestOf(action)
      }
    },

    /** What became of it. */
    take (status: number, body: string) {
      const action = sent
      sent = undefined
      const isGood = status === ACTIONS[action!].success
      if (action === (isGood ? 'leave' : 'register')) accounts.pop()
      if (action === 'register' && isGood) guestToken = tokensFrom(body).accessToken
      if ((action === 'login' || action === 'refresh') && isGood) tokens = tokensFrom(body)
      // To who has left, and got no answer, the next one is a 401.
      if (action === 'leave' && (isGood || status === 401)) guestToken = undefined
      else if (status === 401) tokens = undefined
    }
  }

  function due (wanted: Action): Action {
    if (guestToken) return 'leave'
    // Whoever waited in vain for a refresh asks again within the grace, or it would be taken for theft.
    if (sent === 'refresh') return 'refresh'
    if (wanted === 'login' || wanted === 'register' || wanted === 'health') return wanted
    if (!tokens) return 'login'
    return tokens.expiresAt < Date.now() + RENEW_BEFORE_MS ? 'refresh' : wanted
  }
}

function requestOf (action: Action, body?: object, accessToken?: string): Request {
  const { method, path } = ACTIONS[action]
  return {
    action,
    method,
    path,
    headers: { ...(body && JSON_BODY), ...(accessToken && { authorization: `Bearer ${accessToken}` }) },
    ...(body && { body: JSON.stringify(body) })
  }
}

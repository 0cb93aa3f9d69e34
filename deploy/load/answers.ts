// What the answers before, after and beside the judged load mean to either runner: k6 reads this file too.
import { SETTINGS, type Action } from './mix.ts'
import type { Account } from './virtual-user.ts'

/** What a runner knows of an answer; of none it says why (status 0). */
export type Answer = { status: number, body: string, retryAfter?: string | undefined, policy?: string | undefined }

/** The answer to the last of so many requests for one thing is taken as it is. */
export const MOST_TRIES = 10
const MOST_WAIT_SECONDS = 60

/** The build of argon2 that runs, by the answers to GET /ready and GET /status; an error says why this is not to be loaded. */
export function buildOf (origin: string, ready: Answer, status: Answer): string {
  if (ready.status !== 200) throw new Error(`${origin} is not ready: ${[ready.status, ready.body].filter(Boolean).join(' ')}`)
  if (status.status !== 200) throw new Error(refusalOf('GET /status', status))
  try {
    return JSON.parse(status.body).hashing.build
  } catch {
    throw new Error(`${origin} is not microts`)
  }
}

/** In how many seconds to come again, where the service says so and it is soon. A limit on registrations stays in the way of the rest of them. */
export function secondsToWait (action: Action, { status, retryAfter }: Answer) {
  const isAskedTo = status === 503 || (status === 429 && action !== 'register')
  const seconds = Number(retryAfter)
  return isAskedTo && seconds <= MOST_WAIT_SECONDS ? seconds : undefined
}

export function refusalOf (what: string, { status, body, policy }: Answer) {
  return status === 429 ? limitedBy(policy) : `${what} answers ${status || body}`
}

/** Why a 429 ends it, by the RateLimit-Policy of the answer: `"address";q=60;w=60`. */
export function limitedBy (policy = '') {
  const [, limit = '', quota, window] = /^"([\w-]+)";q=(\d+);w=(\d+)/.exec(policy) ?? []
  const setting = SETTINGS[limit]
  if (!setting) return 'Something before the service answers 429: let the load past it, or it measures that limit alone'
  return `The limit of ${quota} in ${window} s (${limit}) answers 429, and nothing else would be measured: raise ${setting} of the instance under load`
}

export const sentenceOfLeft = (left: Account[]) => `Accounts are left, which npm run users deletes: ${left.map(({ email }) => email).join(' ')}`

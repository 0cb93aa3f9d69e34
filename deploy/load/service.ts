import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { buildOf, MOST_TRIES, refusalOf, secondsToWait, type Answer } from './answers.ts'
import { ACTIONS, ANSWER_SECONDS } from './mix.ts'
import { accountFrom, createVirtualUser, leave, logIn, RANDOM_BYTES, register, tokensFrom, type Account, type Request, type VirtualUser } from './virtual-user.ts'

const AT_A_TIME = 8

export const newAccount = () => accountFrom(randomBytes(RANDOM_BYTES).toString('base64url'))

/** What has to be done at the service before and after the load, until it is abandoned. What it refuses is an error, which is a sentence for the operator. */
export function createService (origin: string, abandoned: AbortSignal) {
  return {
    /** The build of argon2 that runs, once it is sure that traffic may come. */
    async look () {
      return buildOf(origin, await get('/ready'), await get('/status'))
    },

    /** Makes so many users, into `made` as they come, and ends early when it is interrupted. */
    async makeUsers (count: number, made: VirtualUser[], interrupted: AbortSignal) {
      await each(Array.from({ length: count }, newAccount), async (account) => {
        if (interrupted.aborted) return
        const user = createVirtualUser(account, newAccount)
        made.push(user)
        const answer = await patiently(register(account), interrupted)
        if (answer.status === ACTIONS.register.success) user.adopt(tokensFrom(answer.body))
        else if (!interrupted.aborted) throw new Error(refusalOf('POST /auth/register', answer))
      })
    },

    /** Deletes these accounts, and answers those that it could not. */
    async remove (accounts: Account[]) {
      const left: Account[] = []
      await each(accounts, async (account) => {
        const isGone = await removeOne(account).catch(() => false)
        if (!isGone) left.push(account)
      })
      return left
    }
  }

  /** Whether it is gone: one that was never made, or was deleted already, cannot log in. */
  async function removeOne (account: Account) {
    const answer = await patiently(logIn(account), abandoned)
    if (answer.status !== ACTIONS.login.success) return answer.status === 401
    const { status } = await patiently(leave(account, tokensFrom(answer.body).accessToken), abandoned)
    return status === ACTIONS.leave.success
  }

  /** Comes again when the service says so. */
  async function patiently (request: Request, signal: AbortSignal) {
    for (let tries = 1; ; tries++) {
      const answer = await send(request)
      const seconds = secondsToWait(request.action, answer)
      if (seconds === undefined || tries === MOST_TRIES) return answer
      await delay(1000 * seconds, undefined, { signal }).catch(() => {})
      if (signal.aborted) return answer
    }
  }

  async function get (path: string) {
    return send({ method: 'GET', path, headers: { accept: 'application/json' } })
  }

  async function send ({ method, path, headers, body }: Omit<Request, 'action'>): Promise<Answer> {
    const signal = AbortSignal.any([abandoned, AbortSignal.timeout(ANSWER_SECONDS * 1000)])
    try {
      const response = await fetch(`${origin}${path}`, { method, headers, body, signal, redirect: 'manual' })
      const told = (name: string) => response.headers.get(name) ?? undefined
      return { status: response.status, body: await response.text(), retryAfter: told('retry-after'), policy: told('ratelimit-policy') }
    } catch (error) {
      throw new Error(`${origin} cannot be reached: ${reasonOf(error as Error)}`)
    }
  }
}

// What fetch says is that it has failed. What each of several addresses says has no sentence in common, but a code.
function reasonOf (error: Error) {
  const { message, code } = (error.cause ?? error) as NodeJS.ErrnoException
  return message || code
}

/** Some at a time. After the first error no other is begun, and it is thrown when all that were have ended. */
async function each<Item> (items: Item[], act: (item: Item) => Promise<void>) {
  const left = items.values()
  const errors: Error[] = []
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (const item of left) {
      if (errors.length > 0) return
      await act(item).catch((error) => errors.push(error))
    }
  }))
  if (errors[0]) throw errors[0]
}

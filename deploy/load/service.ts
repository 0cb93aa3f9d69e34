import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { ACTIONS, ANSWER_SECONDS } from './mix.ts'
import { limitedBy } from './plan.ts'
import { accountFrom, createVirtualUser, leave, logIn, register, tokensFrom, type Account, type Request, type VirtualUser } from './virtual-user.ts'

const AT_A_TIME = 8
const MOST_TRIES = 10
const MOST_WAIT_SECONDS = 60
const RANDOM_BYTES = 30

export const newAccount = () => accountFrom(randomBytes(RANDOM_BYTES).toString('base64url'))

/** What has to be done at the service before and after the load. What it refuses is an error, which is a sentence for the operator. */
export function createService (origin: string) {
  return {
    /** The build of argon2 that runs, once it is sure that traffic may come. */
    async look () {
      const ready = await get('/ready')
      if (ready.status !== 200) throw new Error(`${origin} is not ready: ${ready.status} ${ready.body}`)
      const about = await get('/status')
      if (about.status !== 200) throw new Error(refusalOf('GET /status', about))
      return JSON.parse(about.body).hashing.build as string
    },

    /** Makes so many users, into `made` as they come, and ends early when it is interrupted. */
    async makeUsers (count: number, made: VirtualUser[], signal: AbortSignal) {
      await each(Array.from({ length: count }, newAccount), async (account) => {
        if (signal.aborted) return
        const user = createVirtualUser(account, newAccount)
        made.push(user)
        const answer = await patiently(register(account))
        if (answer.status !== ACTIONS.register.success) throw new Error(refusalOf('POST /auth/register', answer))
        user.adopt(tokensFrom(answer.body))
      })
    },

    /** Deletes these accounts, and answers those that it could not. One that was never made cannot log in. */
    async remove (accounts: Account[]) {
      const left: Account[] = []
      await each(accounts, async (account) => {
        const isGone = await removeOne(account).catch(() => false)
        if (!isGone) left.push(account)
      })
      return left
    }
  }

  async function removeOne (account: Account) {
    const { status, body } = await patiently(logIn(account))
    if (status === 401) return true
    const answer = await patiently(leave(account, tokensFrom(body).accessToken))
    return answer.status === ACTIONS.leave.success
  }

  /** Comes again when the service says so. */
  async function patiently (request: Request, tries = MOST_TRIES): ReturnType<typeof send> {
    const answer = await send(request)
    const isAskedTo = answer.status === 503 || (answer.status === 429 && request.action !== 'register')
    const waitSeconds = Number(answer.retryAfter ?? NaN)
    if (!isAskedTo || tries === 1 || !(waitSeconds <= MOST_WAIT_SECONDS)) return answer
    await delay(waitSeconds * 1000)
    return patiently(request, tries - 1)
  }

  async function get (path: string) {
    return send({ method: 'GET', path, headers: { accept: 'application/json' } })
  }

  async function send ({ method, path, headers, body }: Omit<Request, 'action'>) {
    const signal = AbortSignal.timeout(ANSWER_SECONDS * 1000)
    const response = await fetch(`${origin}${path}`, { method, headers, body, signal }).catch((error: Error) => {
      const { message } = [error.cause, error].find((cause) => cause instanceof Error) as Error
      throw new Error(`${origin} cannot be reached: ${message}`)
    })
    const { status, headers: told } = response
    return { status, body: await response.text(), retryAfter: told.get('retry-after'), policy: told.get('ratelimit-policy') ?? undefined }
  }
}

function refusalOf (what: string, { status, policy }: { status: number, policy?: string | undefined }) {
  return status === 429 ? limitedBy(policy) : `${what} answers ${status}`
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

import { hash, randomBytes } from 'node:crypto'
import rateLimit, { normalizeIP } from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import { ClientLeft, tooManyRequests } from '../errors.ts'
import { createSharedLog } from './shared-log.ts'
import { SlidingLog, type Log } from './sliding-log.ts'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config/index.ts'

declare module 'fastify' {
  interface FastifyInstance { limits: Limits }
  interface FastifyRequest {
    /** The slots this request holds; null until it has asked for one. */
    slots: Slot[] | null
  }
  interface FastifyContextConfig {
    /** `own`: the route counts by itself; `none`: it is not limited. Every other request counts for its address. */
    limit?: 'own' | 'none'
  }
}

type Dimension = keyof ReturnType<typeof dimensionsOf>
/** What is counted, and for whom; of an address, the request knows for whom. */
type Subject = [dimension: Dimension, value?: string]
type Counted = Extract<Awaited<ReturnType<ReturnType<FastifyInstance['createRateLimit']>>>, { isAllowed: false }>
type Slot = { dimension: Dimension, key: string, max: number, seconds: number, remaining: number, resetSeconds: number }

interface Limits {
  /** Takes no slot, but throws RateLimitExceeded where none is left. */
  look: (request: FastifyRequest, reply: FastifyReply, subject: Subject) => Promise<void>
  /** Takes a slot of each, or none of them and throws RateLimitExceeded. */
  take: (request: FastifyRequest, reply: FastifyReply, ...subjects: Subject[]) => Promise<unknown>
  /** Takes slots for `work`; when it ends in a failure of ours, they are given back. */
  spend: <Result>(request: FastifyRequest, reply: FastifyReply, subjects: Subject[], work: () => Promise<Result>) => Promise<Result>
  /** Counts a failed login: success gives the slots back and ends the account's row of failures, and so does a failure of ours, but for the row. */
  attempt: <Result>(request: FastifyRequest, reply: FastifyReply, account: string, work: () => Promise<Result>) => Promise<Result>
  /** An error handler of a route that counts by itself: what it did not count counts for the address. */
  countFailure: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => Promise<never>
}

const DAY_SECONDS = 86_400
const PRUNE_EVERY_MS = 60_000

const dimensionsOf = (config: Config) => ({
  address: { max: config.RATE_LIMIT_MAX, seconds: config.RATE_LIMIT_WINDOW },
  user: { max: config.RATE_LIMIT_USER_MAX, seconds: config.RATE_LIMIT_WINDOW },
  session: { max: config.RATE_LIMIT_REFRESH_MAX, seconds: config.RATE_LIMIT_REFRESH_WINDOW },
  register: { max: config.RATE_LIMIT_REGISTER_MAX, seconds: config.RATE_LIMIT_AUTH_WINDOW },
  login: { max: config.RATE_LIMIT_LOGIN_MAX, seconds: config.RATE_LIMIT_AUTH_WINDOW },
  'login-address': { max: config.RATE_LIMIT_LOGIN_ADDRESS_MAX, seconds: config.RATE_LIMIT_AUTH_WINDOW },
  account: { max: config.RATE_LIMIT_ACCOUNT_MAX, seconds: DAY_SECONDS }
})

export default fp(async (app) => {
  const local = new SlidingLog()
  const log = app.fastPath ? createSharedLog(app.fastPath, local) : local
  await app.register(rateLimit, { global: false, store: storeOf(log) })
  app.decorate('limits', createLimits(app, log))
  app.decorateRequest('slots', null)

  app.addHook('onRequest', function countForAddress (request, reply, done) {
    if (request.routeOptions.config.limit !== undefined) return done()
    app.limits.take(request, reply, ['address']).then(() => done(), done)
  })

  const timer = setInterval(() => local.prune(), PRUNE_EVERY_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'rate-limit', dependencies: ['client', 'config', 'deadline', 'errors', 'metrics', 'overload', 'passwords', 'redis', 'security'] })

// It makes one store of the class and a child of that for each limiter; all dimensions share the log.
function storeOf (log: Log) {
  return class Store {
    incr = log.incr.bind(log)
    read = log.read.bind(log)
    child () { return this }
  }
}

function createLimits (app: FastifyInstance, log: Log): Limits {
  const dimensions = dimensionsOf(app.config)
  const values = new WeakMap<FastifyRequest, string>()
  // Of this process among all.
  const origin = randomBytes(6).toString('base64url')
  let slots = 0
  const limiters = new Map(Object.entries(dimensions).map(([dimension, { max, seconds }]) => [dimension, app.createRateLimit({
    max,
    timeWindow: seconds * 1000,
    keyGenerator: (request) => `{${dimension}:${values.get(request)}}|${slots++}-${origin}`
  })]))

  const decisions = app.metrics.seriesCounter({ name: 'microts_limit_decisions_total', help: 'What limits were asked, by what they said', labelNames: ['limit', 'decision'] })
  const counted = Object.fromEntries(Object.keys(dimensions).map((limit) => [limit, {
    allowed: decisions.series({ limit, decision: 'allowed' }),
    refused: decisions.series({ limit, decision: 'refused' })
  }]))

  return { look, take, spend, attempt, countFailure }

  async function look (request: FastifyRequest, reply: FastifyReply, subject: Subject) {
    const { slot, isExceeded } = await ask(request, subject, false)
    if (isExceeded) refuse(reply, slot)
  }

  async function take (request: FastifyRequest, reply: FastifyReply, ...subjects: Subject[]) {
    request.slots = slotsOf(request)
    const taken: Slot[] = []
    for (const subject of subjects) {
      const { slot, isExceeded } = await ask(request, subject, true)
      if (isExceeded) {
        taken.forEach(({ key }) => log.refund(key))
        refuse(reply, slot)
      }
      taken.push(slot)
    }
    request.slots.push(...taken)
    tell(reply, request.slots)
    return taken
  }

  async function spend<Result> (request: FastifyRequest, reply: FastifyReply, subjects: Subject[], work: (taken: Slot[]) => Promise<Result>) {
    const taken = await take(request, reply, ...subjects)
    try {
      return await work(taken)
    } catch (error) {
      if (isOurFailure(error)) giveBack(request, reply, taken)
      throw error
    }
  }

  async function attempt<Result> (request: FastifyRequest, reply: FastifyReply, account: string, work: () => Promise<Result>) {
    const who = hash('sha256', account, 'base64url')
    return spend(request, reply, [['login', `${clientOf(request)} ${who}`], ['login-address'], ['account', who]], async (taken) => {
      const result = await work()
      for (const { dimension, key } of taken) if (dimension === 'account') log.clear(key)
      giveBack(request, reply, taken)
      return result
    })
  }

  async function countFailure (error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<never> {
    if (request.slots === null && !isOurFailure(error)) await take(request, reply, ['address'])
    throw error
  }

  async function ask (request: FastifyRequest, [dimension, value = clientOf(request)]: Subject, increment: boolean) {
    values.set(request, value)
    // No dimension has an allow list.
    const { key, remaining, ttlInSeconds: resetSeconds, isExceeded } = await limiters.get(dimension)!(request, { increment }) as Counted
    if (isExceeded) counted[dimension]!.refused()
    else if (increment) counted[dimension]!.allowed()
    return { isExceeded, slot: { dimension, key, remaining, resetSeconds, ...dimensions[dimension] } }
  }

  function giveBack (request: FastifyRequest, reply: FastifyReply, taken: Slot[]) {
    taken.forEach(({ key }) => log.refund(key))
    request.slots = slotsOf(request).filter((slot) => !taken.includes(slot))
    tell(reply, request.slots)
  }
}

const slotsOf = ({ slots }: FastifyRequest) => slots ?? []

// Those without an address share one bucket, in contrast to having none.
const clientOf = ({ address }: FastifyRequest) => address === undefined ? 'unknown' : normalizeIP(address)

// Nor has a client tried anything that left before it could be told.
const isOurFailure = (error: unknown) => ((error as FastifyError).statusCode ?? 500) >= 500 || error instanceof ClientLeft

function refuse (reply: FastifyReply, slot: Slot): never {
  tell(reply, [slot])
  throw tooManyRequests(Math.max(1, slot.resetSeconds))
}

// draft-ietf-httpapi-ratelimit-headers, for the limit that is nearest to its end.
function tell (reply: FastifyReply, slots: Slot[]) {
  const least = Math.min(...slots.map(({ remaining }) => remaining))
  const strictest = slots.find(({ remaining }) => remaining === least)
  if (strictest) {
    const { dimension, max, seconds, remaining, resetSeconds } = strictest
    reply.header('ratelimit-policy', `"${dimension}";q=${max};w=${seconds}`)
    reply.header('ratelimit', `"${dimension}";r=${remaining};t=${resetSeconds}`)
  }
}

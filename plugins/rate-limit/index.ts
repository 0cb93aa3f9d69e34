import { hash } from 'node:crypto'
import { normalizeIP } from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import { ClientLeft, InvalidCredentials, tooManyRequests } from '../errors.ts'
import { createSharedLog } from './shared-log.ts'
import { SlidingLog, type Log, type Slot } from './sliding-log.ts'
import { createUnderWay } from './under-way.ts'
import type { Decision } from './slot-table.ts'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config/index.ts'

declare module 'fastify' {
  interface FastifyInstance { limits: Limits }
  interface FastifyRequest {
    /** The slots this request holds; null until it has asked for one. */
    limitSlots: Taken[] | null
  }
  interface FastifyContextConfig {
    /** `own`: the route counts by itself; `none`: it is not limited. Every other request counts for its address. */
    limit?: 'own' | 'none'
  }
}

type Dimension = keyof ReturnType<typeof dimensionsOf>
/** What is counted, and for whom; of an address, the request knows for whom. */
type Subject = [dimension: Dimension, value?: string]
type Taken = Slot & { policy: string, remaining: number, resetSeconds: number }
type Limit = { max: number, windowMs: number, policy: string, allowed: () => void, refused: () => void }
type Asked = { slot: Taken, isExceeded: boolean }

interface Limits {
  /** Takes no slot, but throws RateLimitExceeded where none is left. */
  look: (request: FastifyRequest, reply: FastifyReply, subject: Subject) => Promise<void>
  /** Takes a slot, or throws RateLimitExceeded where none is left; at once where the log is in memory. */
  take: (request: FastifyRequest, reply: FastifyReply, subject: Subject) => Taken[] | Promise<Taken[]>
  /** Takes a slot for `work`; when it ends in a failure of ours, it is given back. Who leaves meanwhile has had it done. */
  spend: <Result>(request: FastifyRequest, reply: FastifyReply, subject: Subject, work: () => Promise<Result>) => Promise<Result>
  /**
   * Counts a wrong password: success gives the slots back, unless it `costs` them too, and ends the account's row of failures; whatever else
   * `work` ends in gives them back.
   */
  attempt: <Result>(request: FastifyRequest, reply: FastifyReply, account: string, work: () => Promise<Result>, success?: { costs: boolean }) => Promise<Result>
  /** An error handler of a route that counts by itself: what it did not count counts for the address. */
  countFailure: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => Promise<never>
}

const DAY_SECONDS = 86_400
const SOON_SECONDS = 1
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
  const slotLog = app.fastPath ? createSharedLog(app.fastPath, local) : local
  app.decorate('limits', createLimits(app, slotLog))
  app.decorateRequest('limitSlots', null)

  app.addHook('onRequest', function countForAddress (request, reply, done) {
    if (request.route.config.limit !== undefined) return done()
    const taken = app.limits.take(request, reply, ['address'])
    if (taken instanceof Promise) taken.then(() => done(), done)
    else done()
  })

  const timer = setInterval(() => local.prune(), PRUNE_EVERY_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'rate-limit', dependencies: ['address', 'config', 'deadline', 'errors', 'metrics', 'overload', 'passwords', 'redis', 'route', 'security'] })

function createLimits (app: FastifyInstance, slotLog: Log): Limits {
  const underWay = createUnderWay()
  let nextId = 0

  const decisions = app.metrics.seriesCounter({ name: 'microts_limit_decisions_total', help: 'What limits were asked, by what they said', labelNames: ['limit', 'decision'] })
  const limits = Object.fromEntries(Object.entries(dimensionsOf(app.config)).map(([limit, { max, seconds }]) => [limit, {
    max,
    windowMs: seconds * 1000,
    policy: `"${limit}";q=${max};w=${seconds}`,
    allowed: decisions.series({ limit, decision: 'allowed' }),
    refused: decisions.series({ limit, decision: 'refused' })
  }])) as Record<Dimension, Limit>

  return { look, take, spend, attempt, countFailure }

  async function look (request: FastifyRequest, reply: FastifyReply, subject: Subject) {
    const { slot, isExceeded } = await ask(request, subject, 'look')
    if (isExceeded) refuse(reply, slot)
  }

  function take (request: FastifyRequest, reply: FastifyReply, subject: Subject) {
    return takeEach(request, reply, [subject])
  }

  /** A slot of each, or none of them. */
  function takeEach (request: FastifyRequest, reply: FastifyReply, subjects: Subject[], onTaken?: (slot: Taken) => void) {
    request.limitSlots = slotsOf(request)
    const taken: Taken[] = []
    return next()

    function next (): Taken[] | Promise<Taken[]> {
      if (taken.length === subjects.length) {
        request.limitSlots!.push(...taken)
        tell(reply, request.limitSlots!)
        return taken
      }
      const asked = ask(request, subjects[taken.length]!, 'take')
      return asked instanceof Promise ? asked.then(admit) : admit(asked)
    }

    function admit ({ slot, isExceeded }: Asked) {
      if (isExceeded) {
        taken.forEach(slotLog.refund, slotLog)
        refuse(reply, slot)
      }
      taken.push(slot)
      onTaken?.(slot)
      return next()
    }
  }

  async function spend<Result> (request: FastifyRequest, reply: FastifyReply, subject: Subject, work: () => Promise<Result>) {
    const taken = await takeEach(request, reply, [subject])
    return refundUnless((error) => !isOurFailure(error), request, reply, taken, work)
  }

  async function refundUnless<Result> (isCounted: (error: unknown) => boolean, request: FastifyRequest, reply: FastifyReply, taken: Taken[], work: () => Promise<Result>) {
    try {
      return await work()
    } catch (error) {
      if (!isCounted(error)) giveBack(request, reply, taken)
      throw error
    }
  }

  async function attempt<Result> (request: FastifyRequest, reply: FastifyReply, account: string, work: () => Promise<Result>, success = { costs: false }) {
    const who = hash('sha256', account, 'base64url')
    const trial = underWay.begin()
    try {
      const taken = await takeEach(request, reply, [['login', `${clientOf(request)} ${who}`], ['login-address'], ['account', who]], trial.add)
      return await refundUnless(isWrongPassword, request, reply, taken, async () => {
        const result = await work()
        for (const slot of taken) if (slot.dimension === 'account') slotLog.clear(slot)
        if (!success.costs) giveBack(request, reply, taken)
        return result
      })
    } finally {
      trial.end()
    }
  }

  function refuse (reply: FastifyReply, slot: Taken): never {
    const resetSeconds = underWay.has(slot) ? SOON_SECONDS : Math.max(1, slot.resetSeconds)
    tell(reply, [{ ...slot, resetSeconds }])
    throw tooManyRequests(resetSeconds)
  }

  async function countFailure (error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<never> {
    if (request.limitSlots === null && !isOurFailure(error) && !(error instanceof ClientLeft)) await take(request, reply, ['address'])
    throw error
  }

  function ask (request: FastifyRequest, [dimension, value = clientOf(request)]: Subject, how: 'take' | 'look'): Asked | Promise<Asked> {
    const { max, windowMs, policy, allowed, refused } = limits[dimension]
    const id = nextId++
    const decision = slotLog[how]({ dimension, value, id }, windowMs, max)
    return decision instanceof Promise ? decision.then(judge) : judge(decision)

    function judge ({ current, ttl }: Decision) {
      const isExceeded = current > max
      if (isExceeded) refused()
      else if (how === 'take') allowed()
      return { isExceeded, slot: { dimension, value, id, policy, remaining: Math.max(0, max - current), resetSeconds: Math.ceil(ttl / 1000) } }
    }
  }

  function giveBack (request: FastifyRequest, reply: FastifyReply, taken: Taken[]) {
    taken.forEach(slotLog.refund, slotLog)
    request.limitSlots = slotsOf(request).filter((slot) => !taken.includes(slot))
    tell(reply, request.limitSlots)
  }
}

const slotsOf = ({ limitSlots }: FastifyRequest) => limitSlots ?? []

// Those without an address share one bucket, in contrast to having none.
const clientOf = ({ address }: FastifyRequest) => address === undefined ? 'unknown' : normalizeIP(address)

const isOurFailure = (error: unknown) => ((error as FastifyError).statusCode ?? 500) >= 500

const isWrongPassword = (error: unknown) => error instanceof InvalidCredentials

// draft-ietf-httpapi-ratelimit-headers, for the limit that is nearest to its end.
function tell (reply: FastifyReply, slots: Taken[]) {
  let strictest = slots[0]
  for (const slot of slots) if (slot.remaining < strictest!.remaining) strictest = slot
  if (strictest) {
    reply.header('ratelimit-policy', strictest.policy)
    reply.header('ratelimit', `"${strictest.dimension}";r=${strictest.remaining};t=${strictest.resetSeconds}`)
  }
}

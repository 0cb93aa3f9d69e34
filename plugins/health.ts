import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import fp from 'fastify-plugin'
import type { FastifyInstance } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance { health: ReturnType<typeof createHealth> }
}

type HealthState = 'up' | 'down' | 'degraded' | 'disabled'

const INTERVAL_MS = 1000
// Until all has been up once; each time half as long again.
const FIRST_INTERVAL_MS = 50
const BACKOFF = 1.5
const DEADLINE_MS = 1000
const FAILURES_TO_FALL = 3
const SUCCESSES_TO_RISE = 2
// At the start it is normal that a dependency is not there yet; after that somebody should know why.
const TELL_AFTER_MS = 2000

type OnChange = (name: string, isUp: boolean, error?: unknown) => void
type Check = { name: string, run: () => Promise<unknown>, isOptional: boolean, isUp: boolean, hasRisen: boolean, isTold: boolean, streak: number }

/**
 * Background checks with hysteresis: a probe reads the last result and costs no dependency anything.
 * A check rises with its first success and falls with the third failure in a row; after that it takes two successes to rise again.
 */
export function createHealth (now = () => performance.now()) {
  const listeners: OnChange[] = []
  const checks: Check[] = []
  let begunAt: number | undefined
  let isDraining = false
  const { promise: risen, resolve: rise } = Promise.withResolvers<void>()

  return {
    /** Several checks of one name are up together or not at all. Without what is optional the service is degraded, but ready. */
    add (name: string, run: () => Promise<unknown>, { isOptional = false } = {}) {
      checks.push({ name, run, isOptional, isUp: false, hasRisen: false, isTold: false, streak: 0 })
    },

    async checkNow () {
      begunAt ??= now()
      await Promise.all(checks.map(observe))
      if (hasRisen()) rise()
    },

    report (): Record<string, { status: HealthState }> {
      const report: Record<string, { status: HealthState }> = {}
      for (const { name, isUp, isOptional } of checks) {
        if (!isUp) report[name] = { status: isOptional ? 'degraded' : 'down' }
        report[name] ??= { status: 'up' }
      }
      return report
    },

    isReady,

    onChange (listener: OnChange) {
      listeners.push(listener)
    },

    /** The service as a whole. */
    state () {
      if (!isReady()) return 'down'
      return checks.every(({ isUp }) => isUp) ? 'up' : 'degraded'
    },

    /** Fulfilled when every check that is needed has been up once. */
    risen,

    hasRisen,

    /** From now on the process is not ready, whatever its dependencies say. */
    drain () {
      isDraining = true
    },

    get isDraining () {
      return isDraining
    }
  }

  function isReady () {
    return !isDraining && checks.every(({ isUp, isOptional }) => isUp || isOptional)
  }

  function hasRisen () {
    return checks.every(({ hasRisen, isOptional }) => hasRisen || isOptional)
  }

  async function observe (check: Check) {
    const [result] = await Promise.allSettled([Promise.race([check.run(), tooLate()])])
    const isGood = result.status === 'fulfilled'
    check.streak = isGood === check.isUp ? 0 : check.streak + 1
    const needed = check.isUp ? FAILURES_TO_FALL : check.hasRisen ? SUCCESSES_TO_RISE : 1
    if (!isGood && !check.hasRisen && !check.isTold && now() - begunAt! >= TELL_AFTER_MS) {
      check.isTold = true
      tell(check.name, false, result.reason)
    }
    if (check.streak < needed) return
    Object.assign(check, { isUp: isGood, hasRisen: true, streak: 0 })
    tell(check.name, isGood, isGood ? undefined : result.reason)
  }

  function tell (...change: Parameters<OnChange>) {
    for (const listener of listeners) listener(...change)
  }
}

// What a silent dependency would leave open, so that no probe reads a result of long ago.
async function tooLate () {
  await delay(DEADLINE_MS, undefined, { ref: false })
  throw new Error(`no answer within ${DEADLINE_MS} ms`)
}

export default fp(async (app) => {
  const health = createHealth()
  health.onChange((name, isUp, error) => {
    if (isUp) app.log.info({ check: name }, 'check is up')
    else app.log.error({ check: name, err: error }, 'check is down')
  })
  app.decorate('health', health)

  measure(app)

  let timer: NodeJS.Timeout | undefined
  let isClosed = false
  let pauseMs = FIRST_INTERVAL_MS
  app.addHook('onReady', async function watch () { timer = setTimeout(round, 0).unref() })
  app.addHook('onClose', async () => {
    isClosed = true
    clearTimeout(timer)
  })

  async function round () {
    const startedAt = performance.now()
    await health.checkNow()
    if (!isClosed) timer = setTimeout(round, Math.max(0, startedAt + growingInterval() - performance.now())).unref()
  }

  // A fleet that starts while PostgreSQL is away does not knock all at once.
  function growingInterval () {
    if (health.hasRisen()) return INTERVAL_MS
    const spreadMs = pauseMs * (0.5 + Math.random() / 2)
    pauseMs = Math.min(pauseMs * BACKOFF, INTERVAL_MS)
    return spreadMs
  }

  app.addHook('onSend', function sayGoodbye (request, reply, payload, done) {
    if (health.isDraining) reply.header('connection', 'close')
    done()
  })
}, { name: 'health', dependencies: ['metrics'] })

function measure ({ health, metrics }: FastifyInstance) {
  metrics.gauge({ name: 'microts_ready', help: 'Whether traffic should come here', collect () { this.set(Number(health.isReady())) } })
  metrics.gauge({
    name: 'microts_check_up',
    help: 'Whether a background check is good',
    labelNames: ['check'],
    collect () {
      for (const [check, { status }] of Object.entries(health.report())) this.set({ check }, Number(status === 'up'))
    }
  })
  const transitions = metrics.counter({ name: 'microts_ready_transitions_total', help: 'Changes of readiness', labelNames: ['to'] })
  // From 0: Prometheus sees no increase in a series that begins at 1.
  for (const to of ['ready', 'unready']) transitions.inc({ to }, 0)
  let wasReady = false
  health.onChange(() => {
    if (health.isDraining || health.isReady() === wasReady) return
    wasReady = !wasReady
    transitions.inc({ to: wasReady ? 'ready' : 'unready' })
  })
}

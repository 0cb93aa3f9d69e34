import fp from 'fastify-plugin'
import CircuitBreaker from 'opossum'
import { declined } from './errors.ts'

declare module 'fastify' {
  interface FastifyInstance { breakers: ReturnType<typeof createBreakers> }
}

const STATES = ['closed', 'open', 'half-open'] as const
type BreakerState = typeof STATES[number]
export type Breaker = ReturnType<typeof createBreaker>
type OnChange = (change: { name: string, from: BreakerState, to: BreakerState, cause?: unknown }) => void
type Options = { isFailure?: (error: unknown) => boolean, volume?: number, onChange?: OnChange, resetMs?: number }

// Half of 20 calls or more within 10 s, or 20 one after another, since what falls silent under load would have to outnumber the good calls of 10 s.
const VOLUME = 20
const WINDOW_MS = 10_000
const HALF = 49.9      // opossum wants more than that
const RESET_MS = 3000
const JITTER = 0.2

/**
 * A circuit breaker (Nygard, Release It!): what fails again and again is not asked for a while, so that it is told at once that it is
 * away, and it is left in peace to come back. Then one call tries, and what it meets decides. It sets no timeout: whoever
 * does the work knows better how to end it.
 */
export function createBreaker (name: string, { isFailure = () => true, volume = VOLUME, onChange = () => {}, resetMs = RESET_MS }: Options = {}) {
  const options = {
    name,
    timeout: false as const,
    resetTimeout: resetMs,
    volumeThreshold: volume,
    errorThresholdPercentage: HALF,
    rollingCountTimeout: WINDOW_MS,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
    errorFilter: (error: unknown) => !isFailure(error)
  }
  // `calls` is for the listeners.
  const circuit = new CircuitBreaker(async (action: () => Promise<unknown>, calls: number) => action(), options)
  let state: BreakerState = 'closed'
  let failuresInARow = 0
  let lastFailure: unknown

  // Before opossum's own listener, which starts the timer.
  circuit.prependListener('open', () => { options.resetTimeout = resetMs * (1 - JITTER + 2 * JITTER * Math.random()) })
  circuit.on('fire', ([, calls]) => countMore('fires', calls - 1))
  circuit.on('success', () => { failuresInARow = 0 })
  circuit.on('failure', (error, ms, [, calls]) => {
    countMore('failures', calls - 1)
    lastFailure = error
    failuresInARow += calls
    if (failuresInARow >= volume) circuit.open()
  })
  circuit.on('open', () => change('open', lastFailure))
  circuit.on('halfOpen', () => change('half-open'))
  circuit.on('close', () => {
    forget()
    change('closed')
  })

  return {
    name,
    get state () { return state },

    /** Throws ServiceUnavailable where `run` would refuse, for who would otherwise wait before it. */
    refuseIfOpen () {
      if (!circuit.closed && !circuit.pendingClose) throw isOpen()
    },

    /** Throws what the action throws, or ServiceUnavailable when it is not to be tried. It counts for as many calls as it is done for. */
    async run<Result> (action: () => Promise<Result>, calls = 1): Promise<Result> {
      return circuit.fire(action, calls).catch((error) => {
        throw CircuitBreaker.isOurError(error) ? isOpen() : error
      }) as Promise<Result>
    },

    /** Something else has shown that the dependency is back. */
    close: () => circuit.close(),

    shutdown: () => circuit.shutdown()
  }

  function isOpen () {
    return declined(`the breaker of ${name} is open`)
  }

  function change (to: BreakerState, cause?: unknown) {
    const from = state
    state = to
    onChange({ name, from, to, cause })
  }

  // Opossum has counted one.
  function countMore (what: 'fires' | 'failures', more: number) {
    circuit.status.window[0]![what] += more
  }

  // The failures of before would else count for 10 s, and the next one alone open it again.
  function forget () {
    failuresInARow = 0
    for (const bucket of circuit.status.window) Object.assign(bucket, { fires: 0, failures: 0, successes: 0 })
  }
}

/** The breakers of this process, and whoever wants to know of their changes. */
export function createBreakers (onCreate = (name: string) => {}) {
  const breakers = new Map<string, Breaker>()
  const listeners: OnChange[] = []

  return {
    create (name: string, options: Omit<Options, 'onChange'> = {}) {
      const breaker = createBreaker(name, { ...options, onChange: (change) => listeners.forEach((tell) => tell(change)) })
      breakers.set(name, breaker)
      onCreate(name)
      return breaker
    },

    onChange (listener: OnChange) {
      listeners.push(listener)
    },

    all: () => [...breakers.values()],

    /** `disabled` where there is no such breaker, since what it would guard is not configured. */
    stateOf: (name: string) => breakers.get(name)?.state ?? 'disabled' as const,

    shutdown () {
      for (const breaker of breakers.values()) breaker.shutdown()
    }
  }
}

export default fp(async (app) => {
  const transitions = app.metrics.counter({ name: 'microts_breaker_transitions_total', help: 'Changes of circuit breakers', labelNames: ['breaker', 'to'] })
  // From 0: Prometheus sees no increase in a series that begins at 1.
  const breakers = createBreakers((name) => { for (const to of STATES) transitions.inc({ breaker: name, to }, 0) })
  app.decorate('breakers', breakers)
  app.addHook('onClose', async () => breakers.shutdown())

  app.metrics.gauge({
    name: 'microts_breaker_state',
    help: 'The state that a circuit breaker is in has 1, the others 0',
    labelNames: ['breaker', 'state'],
    collect () {
      for (const { name, state } of breakers.all()) for (const each of STATES) this.set({ breaker: name, state: each }, Number(state === each))
    }
  })
  breakers.onChange(({ name, to }) => transitions.inc({ breaker: name, to }))

  breakers.onChange(({ name, from, to, cause }) => {
    if (to === 'closed') app.log.info({ breaker: name }, 'breaker closed')
    else if (from === 'closed') app.log.error({ breaker: name, err: cause }, 'breaker opened')
    else app.log.debug({ breaker: name, from, to }, 'breaker tries')
  })
}, { name: 'breaker', dependencies: ['errors', 'metrics'] })

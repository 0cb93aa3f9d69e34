import { performance } from 'node:perf_hooks'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance { traffic: ReturnType<typeof createTraffic> }
}

/** Of a while. Of nothing there is neither a share nor a latency. */
export type Flow = { perSecond: number, failureShare?: number, medianMs?: number, p95Ms?: number }

export type Traffic = ReturnType<ReturnType<typeof createTraffic>['report']>

const STEP_SECONDS = 15
const STEPS = 60
const LATELY = 4
const SLOTS = STEPS + 1       // and the one that is being filled
const FINEST_MS = 0.1
const PER_DOUBLING = 8
const BUCKETS = 17 * PER_DOUBLING
// The status page asks for itself every 15 s: that is no traffic.
const ITSELF = '/status'

/**
 * How many requests there were, how many of them failed on our side and how long they took, in steps of the last quarter of an
 * hour. A ring of counters: to record costs a few additions and allocates nothing. Latencies are counted in eight buckets per
 * doubling, of which quantiles are the geometric middle: within 4.5 % of the true one from 0.1 ms to 13 s, and that limit beyond.
 */
export function createTraffic (now = () => performance.now()) {
  const startedAt = now()
  const requests = new Uint32Array(SLOTS)
  const failures = new Uint32Array(SLOTS)
  const latencies = new Uint32Array(SLOTS * BUCKETS)
  let current = 0

  return {
    record (ms: number, isFailure: boolean) {
      const slot = turn() % SLOTS
      requests[slot]!++
      if (isFailure) failures[slot]!++
      latencies[slot * BUCKETS + bucketOf(ms)]!++
    },

    /** Steps that are over, oldest first, undefined where this process was not there yet; and the last minute as a whole. */
    report () {
      const present = turn()
      const past = Array.from({ length: STEPS }, (_, i) => present - STEPS + i)
      const lately = past.slice(-LATELY).filter(wasThere)
      return {
        stepSeconds: STEP_SECONDS,
        steps: past.map((step) => wasThere(step) ? flowOf([step]) : undefined),
        lately: lately.length > 0 ? flowOf(lately) : undefined
      }
    }
  }

  /** The step of this moment; what its slot and those that were passed over held is of long ago. */
  function turn () {
    const step = Math.floor((now() - startedAt) / (STEP_SECONDS * 1000))
    for (let next = Math.max(current, step - SLOTS) + 1; next <= step; next++) clear(next % SLOTS)
    current = step
    return step
  }

  function clear (slot: number) {
    requests[slot] = 0
    failures[slot] = 0
    latencies.fill(0, slot * BUCKETS, (slot + 1) * BUCKETS)
  }

  function flowOf (steps: number[]): Flow {
    const sum = (counts: Uint32Array, size = 1, offset = 0) => steps.reduce((total, step) => total + counts[step % SLOTS * size + offset]!, 0)
    const total = sum(requests)
    const perSecond = total / (steps.length * STEP_SECONDS)
    if (total === 0) return { perSecond }
    const counts = Array.from({ length: BUCKETS }, (_, bucket) => sum(latencies, BUCKETS, bucket))
    return { perSecond, failureShare: sum(failures) / total, medianMs: quantile(counts, total * 0.5), p95Ms: quantile(counts, total * 0.95) }
  }
}

const wasThere = (step: number) => step >= 0

function bucketOf (ms: number) {
  const bucket = Math.floor(Math.log2(ms / FINEST_MS) * PER_DOUBLING)
  return Math.min(Math.max(bucket, 0), BUCKETS - 1)
}

function quantile (counts: number[], rank: number) {
  let seen = 0
  const bucket = counts.findIndex((count) => (seen += count) >= rank)
  return FINEST_MS * 2 ** ((bucket + 0.5) / PER_DOUBLING)
}

export default fp(async (app) => {
  app.decorate('traffic', createTraffic())

  app.onEnd(({ route: { config, url } }, { elapsedTime, statusCode }, hasLeft) => {
    if (!hasLeft && !config.isProbe && url !== ITSELF) app.traffic.record(elapsedTime, statusCode >= 500)
  })
}, { name: 'traffic', dependencies: ['ending', 'route'] })

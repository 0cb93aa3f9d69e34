import { performance } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { declined } from './errors.ts'
import type { FastifyRequest } from 'fastify'

const SAMPLE_MS = 500
const HEAP_SHARE = 0.9

/** Refuses requests while the process itself cannot keep up; probes and what is for operators alone go on. */
export default fp(async (app) => {
  let settledAt = Infinity
  app.addHook('onReady', async () => { settledAt = performance.now() + 2 * SAMPLE_MS })
  await app.register(underPressure, {
    sampleInterval: SAMPLE_MS,
    maxEventLoopDelay: app.config.MAX_EVENT_LOOP_DELAY,
    maxHeapUsedBytes: Math.floor(getHeapStatistics().heap_size_limit * HEAP_SHARE),
    pressureHandler ({ method, route }: FastifyRequest, reply, type, value) {
      // A sample in which nothing was measured is called Infinity: one long pause, which is over. So is what held up the start.
      if (type === underPressure.TYPE_EVENT_LOOP_DELAY && (value === Infinity || performance.now() < settledAt)) return
      // Nor is a browser's preflight refused, since its page would then not be told that what it asks for is.
      if (!route.config.isProbe && !route.config.isForOperators && method !== 'OPTIONS') throw declined(`the process is under pressure: ${type}`)
    }
  })
}, { name: 'overload', dependencies: ['config', 'errors', 'route', 'security'] })

import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { declined } from './errors.ts'
import type { FastifyRequest } from 'fastify'

const SAMPLE_MS = 500
const HEAP_SHARE = 0.9

/** Refuses requests while the process itself cannot keep up; probes, which are not limited either, go on. */
export default fp(async (app) => {
  await app.register(underPressure, {
    sampleInterval: SAMPLE_MS,
    maxEventLoopDelay: app.config.MAX_EVENT_LOOP_DELAY,
    maxHeapUsedBytes: Math.floor(getHeapStatistics().heap_size_limit * HEAP_SHARE),
    pressureHandler ({ routeOptions }: FastifyRequest, reply, type, value) {
      // So it calls a sample in which nothing was measured, after one long pause: that is over.
      if (value === Infinity) return
      if (routeOptions.config.limit !== 'none') throw declined(`the process is under pressure: ${type}`)
    }
  })
}, { name: 'overload', dependencies: ['config', 'errors', 'security'] })

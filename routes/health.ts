import { answers, RETRY } from '../schemas/common.ts'
import { HealthSchema, ReadySchema } from '../schemas/ops.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const health: FastifyPluginAsyncTypebox = async (app) => {
  const environment = app.config.NODE_ENV
  const absent = { database: { status: 'disabled' }, redis: { status: 'disabled' }, migrations: { status: 'disabled' } } as const

  app.get('/health', {
    config: { limit: 'none', isProbe: true },
    schema: {
      operationId: 'getHealth',
      tags: ['ops'],
      summary: 'Whether the process answers',
      description: 'Touches no dependency: for liveness probes.',
      response: answers({ 200: HealthSchema })
    }
  }, () => ({ status: 'ok' as const, timestamp: new Date().toISOString(), environment }))

  app.get('/ready', {
    config: { limit: 'none', isProbe: true },
    schema: {
      operationId: 'getReadiness',
      tags: ['ops'],
      summary: 'Whether traffic should come here',
      description: 'The last results of the background checks: for readiness probes.',
      response: answers({ 200: ReadySchema, 503: { ...ReadySchema, headers: RETRY } })
    }
  }, async (request, reply) => {
    const ready = app.health.isReady()
    if (!ready) reply.code(503).header('retry-after', '1')
    return { ready, timestamp: new Date().toISOString(), checks: { ...absent, ...app.health.report() } }
  })
}

export default health

import { answers } from '../schemas/common.ts'
import { MetricsSchema } from '../schemas/ops.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const metrics: FastifyPluginAsyncTypebox = async (app) => {
  app.guardOperators()

  app.get('/metrics', {
    config: { isProbe: true },
    schema: {
      operationId: 'getMetrics',
      tags: ['ops'],
      summary: 'Metrics for Prometheus',
      description: 'OpenMetrics for who accepts it.',
      response: answers({ 200: MetricsSchema }, 'UNAUTHORIZED')
    }
  }, async (request, reply) => {
    const form = reply.negotiate('text/plain', 'application/openmetrics-text') === 'text/plain' ? 'plain' : 'open'
    const { type, text } = await app.metrics.expose(form)
    reply.type(type)
    return text
  })
}

export default metrics

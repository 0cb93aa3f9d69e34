import { answers } from '../schemas/common.ts'
import { MetricsSchema } from '../schemas/ops.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const metrics: FastifyPluginAsyncTypebox = async (app) => {
  app.guardOperators()

  app.get('/metrics', {
    schema: {
      operationId: 'getMetrics',
      tags: ['ops'],
      summary: 'Metrics for Prometheus',
      description: 'OpenMetrics for who accepts it.',
      response: answers({ 200: MetricsSchema }, 'UNAUTHORIZED')
    }
  }, async (request, reply) => {
    const { type, text } = await app.metrics.expose(request.headers.accept)
    reply.header('vary', 'Accept').type(type)
    return text
  })
}

export default metrics

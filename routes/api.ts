import { answers } from '../schemas/common.ts'
import { ApiSchema } from '../schemas/ops.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const api: FastifyPluginAsyncTypebox = async (app) => {
  const links = { docs: '/docs', openapi: '/docs/json', jwks: '/.well-known/jwks.json', status: '/status', health: '/health', ready: '/ready' }

  app.get('/api', {
    schema: {
      operationId: 'getApi',
      tags: ['ops'],
      summary: 'Name, version and where to go from here',
      description: 'The entry point for people and programs.',
      response: answers({ 200: ApiSchema })
    }
  }, async () => ({ name: 'microts', version: app.release, links }))
}

export default api

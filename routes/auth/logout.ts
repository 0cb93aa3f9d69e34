import { Type } from '@sinclair/typebox'
import { answers, GUARDED } from '../../schemas/common.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const logout: FastifyPluginAsyncTypebox = async (app) => {
  app.guard({ acceptsRevoked: true })

  app.post('/logout', {
    config: { outlivesClient: true, endsSessions: true },
    schema: {
      operationId: 'logout',
      tags: ['auth'],
      summary: 'End the session',
      description: 'May be repeated with the same token.',
      response: answers({ 204: Type.Null({ description: 'The session has ended' }) }, ...GUARDED)
    }
  }, async (request, reply) => {
    await app.sessions.close(request.user.sessionId, request.user.id)
    reply.code(204)
  })
}

export default logout

import { Type } from '@sinclair/typebox'
import { answers, GUARDED } from '../../schemas/common.ts'
import { RevokeAllQuerySchema, SessionParamsSchema, SessionsSchema } from '../../schemas/sessions.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const sessions: FastifyPluginAsyncTypebox = async (app) => {
  app.guard()

  app.get('/sessions', {
    schema: {
      operationId: 'listSessions',
      tags: ['me'],
      summary: 'Where I am signed in',
      description: 'The live sessions, the one seen last first.',
      response: answers({ 200: SessionsSchema }, ...GUARDED)
    }
  }, async (request) => {
    const sessions = await app.sessions.list(request.user.id)
    return { sessions: sessions.map((session) => ({ ...session, current: session.id === request.user.sessionId })) }
  })

  app.delete('/sessions/:id', {
    config: { outlivesClient: true, endsSessions: true },
    schema: {
      operationId: 'revokeSession',
      tags: ['me'],
      summary: 'Sign one device out',
      description: 'Its tokens are dead on every replica within a second.',
      params: SessionParamsSchema,
      response: answers({ 204: Type.Null({ description: 'The session has ended' }) }, ...GUARDED, 'NOT_FOUND')
    }
  }, async (request, reply) => {
    await app.sessions.revoke(request.params.id, request.user.id)
    reply.code(204)
  })

  app.delete('/sessions', {
    config: { outlivesClient: true, endsSessions: true },
    schema: {
      operationId: 'revokeSessions',
      tags: ['me'],
      summary: 'Sign all other devices out',
      description: 'With ?all=true this one too.',
      querystring: RevokeAllQuerySchema,
      response: answers({ 204: Type.Null({ description: 'The sessions have ended' }) }, ...GUARDED)
    }
  }, async (request, reply) => {
    const { id, sessionId } = request.user
    await app.sessions.revokeAll(id, { reason: 'revoked', except: request.query.all ? undefined : sessionId })
    reply.code(204)
  })
}

export default sessions

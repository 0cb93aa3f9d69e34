import { RefreshSchema, TokenPairSchema } from '../../schemas/auth.ts'
import { answers } from '../../schemas/common.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError } from 'fastify'

// Clients wait for a refresh before anything else: one that is slow had better be tried again, which the grace allows.
const TIMEOUT_MS = 5000

const refresh: FastifyPluginAsyncTypebox = async (app) => {
  app.acceptForms()

  app.post('/refresh', {
    // A thief that leaves at once is found out all the same.
    config: { limit: 'own', timeout: TIMEOUT_MS, outlivesClient: true },
    errorHandler: app.limits.countFailure,
    schema: {
      operationId: 'refresh',
      tags: ['auth'],
      summary: 'Exchange a refresh token for the next pair',
      description: 'A retry within the grace (REFRESH_GRACE_SECONDS, 30 s) gets the same successor again. A token that is older than that is taken for stolen and ends the session.',
      body: RefreshSchema,
      response: answers({ 200: TokenPairSchema }, 'INVALID_REFRESH_TOKEN')
    }
  }, async (request, reply) => {
    const claim = app.sessions.claimOf(request.body.refreshToken)
    try {
      return await app.limits.spend(request, reply, ['session', claim.sessionId], () => app.sessions.rotate(claim))
    } catch (error) {
      if ((error as FastifyError).code !== 'RATE_LIMIT_EXCEEDED') throw error
      const told = reply.getHeaders()
      // Counted for the address, since each of these asks PostgreSQL.
      await app.limits.spend(request, reply, ['address'], () => app.sessions.endIfStolen(claim))
      reply.headers(told)
      throw error
    }
  })
}

export default refresh

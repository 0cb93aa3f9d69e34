import fp from 'fastify-plugin'
import { Unauthorized } from '../errors.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Identity } from './tokens.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Guards every route of this scope with the access token; `acceptsRevoked` is for logout, which may be repeated. */
    guard: (options?: { acceptsRevoked?: boolean }) => void
  }
  interface FastifyContextConfig {
    isGuarded?: boolean
  }
}

export default fp(async (app) => {
  app.decorate('guard', function (this: FastifyInstance, { acceptsRevoked = false } = {}) {
    this.addHook('onRoute', function declareGuard (route) {
      route.config = { ...route.config, isGuarded: true, limit: 'own' }
      route.errorHandler = app.limits.countFailure
    })
    this.addHook('onRequest', async function authenticate (request, reply) {
      request.user = await identify(request, reply, acceptsRevoked)
    })
  })

  // A valid token counts for its user alone, everything else for the address.
  async function identify (request: FastifyRequest, reply: FastifyReply, acceptsRevoked: boolean): Promise<Identity> {
    const identity = app.tokens.recall(request) ?? await verify(request, reply)
    if (await app.revocations.isRevoked(identity.sessionId)) {
      await app.limits.take(request, reply, ['address'])
      if (!acceptsRevoked) throw new Unauthorized()
      return identity
    }
    await app.limits.take(request, reply, ['user', identity.id])
    return identity
  }

  async function verify (request: FastifyRequest, reply: FastifyReply) {
    await app.limits.look(request, reply, ['address'])
    try {
      return await app.tokens.verify(request)
    } catch (error) {
      await app.limits.take(request, reply, ['address'])
      throw error
    }
  }
}, { name: 'guards', dependencies: ['tokens', 'revocations', 'rate-limit'] })

import fp from 'fastify-plugin'
import { ServiceUnavailable, Unauthorized } from '../errors.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Identity } from './tokens.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Guards every route of this scope with the access token; `acceptsRevoked` is for logout, which may be repeated. */
    guard: (options?: { acceptsRevoked?: boolean }) => void
  }
  interface FastifyContextConfig {
    isGuarded?: boolean
    /** Ends sessions, so it counts for the asking session, not its user: a thief on another session cannot use up the limit that the owner needs. */
    endsSessions?: boolean
  }
}

const BODILESS = ['GET', 'HEAD']

export default fp(async (app) => {
  app.decorate('guard', function (this: FastifyInstance, { acceptsRevoked = false } = {}) {
    this.addHook('onRoute', function declareGuard (route) {
      route.config = { ...route.config, isGuarded: true, limit: 'own' }
      route.errorHandler ??= app.limits.countFailure
      if (!acceptsRevoked && !BODILESS.includes(String(route.method))) route.preHandler = [refuseRevoked, ...[route.preHandler ?? []].flat()]
    })
    this.addHook('onRequest', function authenticate (request, reply, done) {
      const identified = then(identify(request, reply, acceptsRevoked), (identity) => { request.user = identity })
      if (identified instanceof Promise) identified.then(() => done(), done)
      else done()
    })
  })

  // The session may have ended while the body was coming.
  function refuseRevoked ({ user }: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) {
    const checked = then(app.revocations.isRevoked(user.sessionId), (isRevoked) => isRevoked ? new Unauthorized() : undefined)
    if (checked instanceof Promise) checked.then(done, done)
    else done(checked)
  }

  // A valid token counts for its user or its session alone, everything else for the address.
  function identify (request: FastifyRequest, reply: FastifyReply, acceptsRevoked: boolean): Identity | Promise<Identity> {
    return then(app.tokens.recall(request) ?? verify(request, reply), (identity) =>
      then(app.revocations.isRevoked(identity.sessionId), (isRevoked) =>
        then(app.limits.take(request, reply, isRevoked ? ['address'] : ['user', request.route.config.endsSessions ? identity.sessionId : identity.id]), () => {
          if (isRevoked && !acceptsRevoked) throw new Unauthorized()
          return identity
        })))
  }

  async function verify (request: FastifyRequest, reply: FastifyReply) {
    await app.limits.look(request, reply, ['address'])
    try {
      return await app.tokens.verify(request)
    } catch (error) {
      if (!(error instanceof ServiceUnavailable)) await app.limits.take(request, reply, ['address'])
      throw error
    }
  }
}, { name: 'guards', dependencies: ['tokens', 'revocations', 'rate-limit', 'route'] })

/** At once where the value is there: most requests are identified by what is in memory, and a promise for each step would take longer than that. */
function then<Value, Result> (value: Value | Promise<Value>, next: (value: Value) => Result | Promise<Result>) {
  return value instanceof Promise ? value.then(next) : next(value)
}

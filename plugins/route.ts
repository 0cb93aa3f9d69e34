import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** Its `routeOptions`, which Fastify puts together anew each time that they are asked for. */
    readonly route: FastifyRequest['routeOptions']
    [KNOWN]: FastifyRequest['routeOptions'] | undefined
  }
}

const KNOWN = Symbol('the options of the route, once they have been asked for')

export default fp(async (app) => {
  app.decorateRequest(KNOWN, undefined)
  app.decorateRequest('route', {
    getter (this: FastifyRequest) {
      this[KNOWN] ??= this.routeOptions
      return this[KNOWN]
    }
  })
}, { name: 'route' })

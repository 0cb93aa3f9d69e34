import fp from 'fastify-plugin'
import { ACCEPT_PATCH } from '../schemas/common.ts'
import { MethodNotAllowed, refusal } from './errors.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'

// An import of it would load WebSocket and all that fetch is made of, 30 ms of a start.
const { METHODS } = process.getBuiltinModule('http')

declare module 'fastify' {
  interface FastifyInstance {
    /** The URLs of all routes, as they are registered. */
    urls: Set<string>
  }
}

/** Remembers which URLs there are; that of @fastify/cors, which is every path there could be, comes before. */
export default fp(async (app) => {
  const urls = new Set<string>()
  app.decorate('urls', urls)
  app.addHook('onRoute', function remember ({ url }) { urls.add(url) })
}, { name: 'methods', dependencies: ['security'] })

/** Registered after all routes: every method a URL lacks answers 405, and OPTIONS 204, both with Allow (RFC 9110 section 15.5.6). */
export async function missingMethods (app: FastifyInstance) {
  // Node leaves CONNECT to a listener of its own: see http.
  for (const method of METHODS) if (method !== 'CONNECT' && !app.supportedMethods.includes(method)) app.addHttpMethod(method)

  for (const url of [...app.urls]) {
    const known = app.supportedMethods.filter((method) => app.hasRoute({ url, method: method as HTTPMethods }))
    const allow = [...known, 'OPTIONS'].sort().join(', ')

    const refuse = async () => { throw refusal(new MethodNotAllowed(), { headers: { allow } }) }
    const tell = async (request: FastifyRequest, reply: FastifyReply) => reply.code(204).headers({ allow, ...(known.includes('PATCH') ? ACCEPT_PATCH : {}) }).send()

    app.route({
      url,
      method: app.supportedMethods.filter((method) => !known.includes(method) && method !== 'OPTIONS'),
      schema: { hide: true },
      onRequest: refuse,      // before the body is parsed
      handler: refuse
    })
    // Not counted: where an address has asked too often, a browser would never send what counts for its user alone.
    app.route({ url, method: 'OPTIONS', config: { limit: 'none' }, schema: { hide: true }, onRequest: tell, handler: tell })
  }
}

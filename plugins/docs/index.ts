import fp from 'fastify-plugin'
import { ProblemSchema } from '../../schemas/common.ts'
import { refusedElsewhere } from '../errors.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** The OpenAPI 3.1 document, generated from the schemas of the routes. */
    openapi: () => Promise<Document>
  }
}

type Document = { [part: string]: unknown, paths: Record<string, Record<string, object>> }

// Own files only; the hash is that of the one style element Swagger UI inserts, and the logo is a data URL. Not upgrade-insecure-requests, which would break the page over plain HTTP.
const CSP = "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
// Swagger UI fits a phone, and its page does not say so.
const VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'
const OF_CONNECTION = new Set(['connection', 'content-length', 'date', 'keep-alive', 'transfer-encoding'])

/** OpenAPI and Swagger UI: a site of their own, made when somebody first looks, since to load it would take every start a tenth longer. */
export default fp(async (app) => {
  app.addSchema(ProblemSchema)
  const routes: RouteOptions[] = []
  app.addHook('onRoute', function describe (route) {
    if (route.schema?.operationId && route.method !== 'HEAD') routes.push(route)
  })

  let site: Promise<FastifyInstance> | undefined
  function open () {
    site ??= import('./site.ts').then(({ createSite }) => createSite(app.release, routes)).catch(forget)
    return site
  }
  // So that the next look tries again, and the stop has nothing to close.
  function forget (error: Error): never {
    site = undefined
    throw error
  }
  app.decorate('openapi', async () => (await open()).swagger() as unknown as Document)
  app.addHook('onClose', async () => { await (await site)?.close() })

  for (const url of ['/docs', '/docs/*']) app.get(url, { config: { limit: 'none' }, errorHandler: app.limits.countFailure, schema: { hide: true } }, show)

  async function show (request: FastifyRequest, reply: FastifyReply) {
    const { statusCode, headers, rawPayload } = await (await open()).inject({ url: request.url, headers: request.headers })
    if (statusCode >= 400) throw refusedElsewhere(statusCode)
    reply.code(statusCode).headers(Object.fromEntries(Object.entries(headers).filter(([name]) => !OF_CONNECTION.has(name))))
    if (statusCode === 304) return reply.send(app.etag.nothing())
    if (!String(headers['content-type']).startsWith('text/html')) return reply.send(rawPayload)
    return reply.headers({ ...app.pageHeaders, 'content-security-policy': CSP }).send(rawPayload.toString().replace('<title>', `${VIEWPORT}$&`))
  }
}, { name: 'docs', dependencies: ['config', 'etag', 'methods', 'rate-limit', 'security', 'errors'] })

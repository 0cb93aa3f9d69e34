import fp from 'fastify-plugin'
import { ProblemSchema } from '../../schemas/common.ts'
import { NotFound } from '../errors.ts'
import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Document, Site } from './site.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The OpenAPI 3.1 document, generated from the schemas of the routes. */
    openapi: () => Promise<Document>
  }
}

// Own files only; the hash is that of the one style element Swagger UI inserts, and the logo is a data URL. Not upgrade-insecure-requests, which would break the page over plain HTTP.
const CSP = "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** OpenAPI and Swagger UI: made when somebody first looks, since to load them would take every start a tenth longer, and the same for all who look. */
export default fp(async (app) => {
  app.addSchema(ProblemSchema)
  const routes: RouteOptions[] = []
  app.addHook('onRoute', function describe (route) {
    if (route.schema?.operationId && route.method !== 'HEAD') routes.push(route)
  })

  let site: Promise<Site> | undefined
  function open () {
    site ??= import('./site.ts').then(({ createSite }) => createSite(app.release, routes, app.etag.of)).catch(forget)
    return site
  }
  // So that the next look tries again.
  function forget (error: Error): never {
    site = undefined
    throw error
  }
  app.decorate('openapi', async () => (await open()).document)

  for (const url of ['/docs', '/docs/*']) app.get<{ Params: { '*'?: string } }>(url, { config: { limit: 'none' }, errorHandler: app.limits.countFailure, schema: { hide: true } }, show)

  async function show ({ params, headers }: FastifyRequest<{ Params: { '*'?: string } }>, reply: FastifyReply) {
    const rest = params['*']
    const page = (await open()).pages.get(rest === undefined ? '/docs' : `/docs/${rest}`)
    if (!page) throw new NotFound()
    const isKnown = app.etag.isKnown(headers, page.etag)
    reply.headers(page.isDocument ? { ...app.pageHeaders, 'content-security-policy': CSP } : {}).headers({ 'content-type': page.type, etag: page.etag, 'cache-control': 'no-cache' })
    return isKnown ? reply.code(304).send(app.etag.nothing()) : reply.send(page.body)
  }
// http-metrics and methods: their onRoute hooks have to see these routes.
}, { name: 'docs', dependencies: ['config', 'etag', 'http-metrics', 'methods', 'rate-limit', 'security', 'errors'] })

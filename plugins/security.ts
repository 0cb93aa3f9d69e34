import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import fp from 'fastify-plugin'
import type { IncomingMessage } from 'node:http'

declare module 'fastify' {
  interface FastifyInstance {
    /** The headers of every answer, those below routing included. */
    securityHeaders: Readonly<Record<string, string>>
    /** And those that only a page has a use for. */
    pageHeaders: Readonly<Record<string, string>>
    /** What an answer has that no hook of ours has seen. */
    commonHeaders: (raw: IncomingMessage, requestId: string) => Record<string, string>
  }
}

const EXPOSED = ['ETag', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'X-Request-Id', 'X-Correlation-Id']
const PREFLIGHT_SECONDS = 600
// What browsers heed in a document alone; on every answer these six cost a tenth of a small request.
const OF_PAGES = ['cross-origin-opener-policy', 'origin-agent-cluster', 'x-dns-prefetch-control', 'x-download-options', 'x-permitted-cross-domain-policies', 'x-xss-protection']

export default fp(async (app) => {
  const origins = app.config.ALLOWED_ORIGINS
  const headers = await constantHeaders()
  app.decorate('securityHeaders', only(headers, (name) => !OF_PAGES.includes(name)))
  app.decorate('pageHeaders', only(headers, (name) => OF_PAGES.includes(name)))
  app.decorate('commonHeaders', (raw: IncomingMessage, requestId: string) => ({
    ...app.securityHeaders,
    'x-request-id': requestId,
    'x-correlation-id': app.correlationIdOf(raw, requestId),
    ...(origins.length > 0 ? { vary: 'Origin', 'access-control-expose-headers': EXPOSED.join(', ') } : {}),
    ...(origins.includes(String(raw.headers.origin)) ? { 'access-control-allow-origin': String(raw.headers.origin) } : {})
  }))

  app.addHook('onRequest', function setHeaders (request, reply, done) {
    reply.headers(app.securityHeaders)
    reply.header('x-request-id', request.id)
    reply.header('x-correlation-id', request.correlationId)
    done()
  })

  if (origins.length > 0) {
    await app.register(cors, {
      origin: origins,
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      allowedHeaders: ['Authorization', 'Content-Type', 'If-Match', 'If-None-Match', 'X-Request-Id', 'X-Correlation-Id', 'traceparent'],
      exposedHeaders: EXPOSED,
      maxAge: PREFLIGHT_SECONDS,
      strictPreflight: false,
      preflightContinue: true
    })
  }
}, { name: 'security', dependencies: ['config', 'errors', 'ids', 'logging'] })

/** What helmet says is the same for every answer, so it is asked once; in the app its hooks would run for each request. */
async function constantHeaders () {
  const app = Fastify()
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    strictTransportSecurity: { maxAge: 63_072_000, includeSubDomains: true },
    referrerPolicy: { policy: 'no-referrer' },
    xFrameOptions: { action: 'deny' }
  })
  app.get('/', async () => '')
  const { headers } = await app.inject('/')
  await app.close()
  const own = Object.entries(headers).filter(([name]) => !['content-length', 'content-type', 'date', 'connection'].includes(name))
  // Nothing is cached unless its route says so.
  return { ...Object.fromEntries(own.map(([name, value]) => [name, String(value)])), 'cache-control': 'no-store' }
}

function only (headers: Record<string, string>, isWanted: (name: string) => boolean) {
  return Object.freeze(Object.fromEntries(Object.entries(headers).filter(([name]) => isWanted(name))))
}

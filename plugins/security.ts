import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import Fastify from 'fastify'
import fp from 'fastify-plugin'
import type { IncomingMessage } from 'node:http'

declare module 'fastify' {
  interface FastifyInstance {
    /** The headers of every answer, those below routing included. */
    securityHeaders: Readonly<Record<string, string>>
    /** What an answer has that no hook of ours has seen. */
    commonHeaders: (raw: IncomingMessage, requestId: string) => Record<string, string>
  }
}

const EXPOSED = ['ETag', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'X-Request-Id', 'X-Correlation-Id']
const PREFLIGHT_SECONDS = 600

export default fp(async (app) => {
  const origins = app.config.ALLOWED_ORIGINS
  app.decorate('securityHeaders', await constantHeaders())
  app.decorate('commonHeaders', (raw: IncomingMessage, requestId: string) => ({
    ...app.securityHeaders,
    'x-request-id': requestId,
    'x-correlation-id': app.correlationIdOf(raw, requestId),
    ...(origins.length > 0 ? { vary: 'Origin', 'access-control-expose-headers': EXPOSED.join(', ') } : {}),
    ...(origins.includes(String(raw.headers.origin)) ? { 'access-control-allow-origin': String(raw.headers.origin) } : {})
  }))

  app.addHook('onRequest', async function setHeaders (request, reply) {
    reply.headers(app.securityHeaders)
    reply.header('x-request-id', request.id)
    reply.header('x-correlation-id', request.correlationId)
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
}, { name: 'security', dependencies: ['config', 'logging', 'errors'] })

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
  return Object.freeze({ ...Object.fromEntries(own.map(([name, value]) => [name, String(value)])), 'cache-control': 'no-store' })
}

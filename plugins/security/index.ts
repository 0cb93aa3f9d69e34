import cors from '@fastify/cors'
import fp from 'fastify-plugin'
import { COMMON, PAGES, USUAL } from './headers.ts'
import { Response } from './response.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'

declare module 'fastify' {
  interface FastifyInstance {
    /** The headers of every answer, those below routing included. */
    securityHeaders: Readonly<Record<string, string>>
    /** And those that only a page has a use for. */
    pageHeaders: Readonly<Record<string, string>>
    /** What an answer has that no hook of ours has seen, but for what its response has by itself. */
    commonHeaders: (raw: IncomingMessage, requestId: string, response?: ServerResponse) => Record<string, string>
  }
}

const EXPOSED = ['ETag', 'RateLimit', 'RateLimit-Policy', 'Retry-After', 'X-Request-Id', 'X-Correlation-Id']
const PREFLIGHT_SECONDS = 600

export default fp(async (app) => {
  const origins = app.config.ALLOWED_ORIGINS
  app.decorate('securityHeaders', COMMON)
  app.decorate('pageHeaders', PAGES)
  app.decorate('commonHeaders', (raw: IncomingMessage, requestId: string, response?: ServerResponse) => ({
    ...headersFor(response),
    'x-request-id': requestId,
    'x-correlation-id': app.correlationIdOf(raw, requestId),
    ...(origins.length > 0 ? { vary: 'Origin', 'access-control-expose-headers': EXPOSED.join(', ') } : {}),
    ...(origins.includes(String(raw.headers.origin)) ? { 'access-control-allow-origin': String(raw.headers.origin) } : {})
  }))

  app.addHook('onRequest', function setHeaders (request, reply, done) {
    reply.headers(headersFor(reply.raw))
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
// errors: the OPTIONS route of @fastify/cors takes the error handler that is there when it is registered.
}, { name: 'security', dependencies: ['config', 'errors', 'ids', 'logging'] })

// app.inject() brings a response that does not write FIXED by itself.
const headersFor = (response?: ServerResponse) => response instanceof Response ? USUAL : COMMON

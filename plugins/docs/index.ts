import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'
import { ProblemSchema } from '../../schemas/common.ts'
import { withComponents } from './components.ts'
import type { FastifyContextConfig } from 'fastify'

// Own files only; the hash is that of the one style element Swagger UI inserts, and the logo is a data URL. Not upgrade-insecure-requests, which would break the page over plain HTTP.
const CSP = "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
// Swagger UI fits a phone, and its page does not say so.
const VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'

const SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token' },
  operator: { type: 'http', scheme: 'bearer', description: 'OPS_TOKEN, where it is set' }
} as const

/** OpenAPI 3.1, generated from the schemas of the routes, and Swagger UI to try it. */
export default fp(async (app) => {
  app.addSchema(ProblemSchema)

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'microts',
        version: app.release,
        description: 'Users, passwords, sessions and tokens. Errors are RFC 9457 problem documents: decide by `code`. Of a key that stands twice in a JSON object, the last one counts.',
        license: { name: 'MIT', identifier: 'MIT' }
      },
      servers: [{ url: '/', description: 'Where this document comes from' }],
      tags: [
        { name: 'auth', description: 'Getting in and out' },
        { name: 'me', description: 'The account behind the access token' },
        { name: 'ops', description: 'For those who run it' }
      ],
      components: { securitySchemes: SCHEMES }
    },
    refResolver: { buildLocalReference: ({ $id }) => String($id) },
    transform: ({ schema, url, route }) => ({ url, schema: { ...schema, security: securityOf(route.config) } }),
    transformObject: (document) => withComponents((document as { openapiObject: object }).openapiObject)
  })

  await app.register(async (docs) => {
    docs.addHook('onRoute', function exempt (route) { route.config = { ...route.config, limit: 'none' } })
    docs.addHook('onSend', async function letPageLoad (request, reply, payload) {
      if (!String(reply.getHeader('content-type')).startsWith('text/html')) return payload
      reply.header('content-security-policy', CSP)
      return typeof payload === 'string' ? payload.replace('<title>', `${VIEWPORT}$&`) : payload
    })
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      uiConfig: { docExpansion: 'list', displayRequestDuration: true, tryItOutEnabled: true },
      theme: { title: 'microts' }
    })
  })
}, { name: 'docs', dependencies: ['config', 'methods', 'security', 'errors'] })

function securityOf ({ isGuarded, isForOperators }: FastifyContextConfig = {}): Record<string, string[]>[] {
  if (isGuarded) return [{ bearer: [] }]
  return isForOperators ? [{ operator: [] }] : []
}

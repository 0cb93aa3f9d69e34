import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import Fastify, { type FastifyContextConfig, type RouteOptions } from 'fastify'
import { ProblemSchema } from '../../schemas/common.ts'
import { withComponents } from './components.ts'

const SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token' },
  operator: { type: 'http', scheme: 'bearer', description: 'OPS_TOKEN, where it is set' }
} as const

/** A service that knows the routes of another one by what they say of themselves: it answers with the OpenAPI 3.1 document of them, and Swagger UI to try it. */
export async function createSite (version: string, routes: RouteOptions[]) {
  const site = Fastify({ exposeHeadRoutes: false })
  // Nothing is asked of these routes, so that nothing needs to be compiled.
  site.setValidatorCompiler(() => () => true)
  site.setSerializerCompiler(() => JSON.stringify)
  site.addSchema(ProblemSchema)

  await site.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'microts',
        version,
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
  await site.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { docExpansion: 'list', displayRequestDuration: true, tryItOutEnabled: true },
    theme: { title: 'microts' }
  })
  for (const { method, url, schema, config } of routes) site.route({ method, url, schema, config, handler: async (_, reply) => reply.callNotFound() })
  await site.ready()
  return site
}

function securityOf ({ isGuarded, isForOperators }: FastifyContextConfig = {}): Record<string, string[]>[] {
  if (isGuarded) return [{ bearer: [] }]
  return isForOperators ? [{ operator: [] }] : []
}

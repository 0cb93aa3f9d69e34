import { readdir } from 'node:fs/promises'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import Fastify, { type FastifyContextConfig, type RouteOptions } from 'fastify'
import { ProblemSchema } from '../../schemas/common.ts'
import { withComponents } from './components.ts'

const SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token' },
  operator: { type: 'http', scheme: 'bearer', description: 'OPS_TOKEN, where it is set' }
} as const

export type Document = { [part: string]: unknown, paths: Record<string, Record<string, object>> }
/** `isDocument`: what browsers show, in contrast to what it is made of. */
export type Page = { type: string, body: Buffer, etag: string, isDocument: boolean }
/** The OpenAPI 3.1 document, and by path all there is to see: it, and Swagger UI to try it. */
export type Site = { document: Document, pages: ReadonlyMap<string, Page> }

// Of Swagger UI, for others than us.
const NOT_SERVED = ['csp.json', 'index.html']
// It fits a phone, and its page does not say so.
const VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'

/** A second Fastify that knows of the routes only what they say of themselves. Each page is asked for once; all who look get the same bytes. */
export async function createSite (version: string, routes: RouteOptions[], tagOf: (text: string) => string): Promise<Site> {
  const site = await open(version, routes)
  const files = (await readdir(new URL('static', import.meta.resolve('@fastify/swagger-ui')))).filter((file) => !NOT_SERVED.includes(file))
  const paths = ['/docs', '/docs/', '/docs/json', '/docs/yaml', ...[...files, 'swagger-initializer.js'].map((file) => `/docs/static/${file}`)]
  const pages = await Promise.all(paths.map(async (path) => [path, await look(path)] as const))
  const document = site.swagger() as unknown as Document
  await site.close()
  return { document, pages: new Map(pages) }

  async function look (path: string): Promise<Page> {
    const { statusCode: status, headers, rawPayload } = await site.inject(path)
    if (status !== 200) throw new Error(`${path} answered ${status}`)
    const type = String(headers['content-type']).replace('application/x-yaml', 'application/yaml')      // RFC 9512
    const isDocument = type.startsWith('text/html')
    const body = isDocument ? Buffer.from(rawPayload.toString().replace('<title>', `${VIEWPORT}$&`)) : rawPayload
    return { type, body, isDocument, etag: tagOf(body.toString('latin1')) }
  }
}

async function open (version: string, routes: RouteOptions[]) {
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
        description: 'Users, passwords, sessions and tokens. Errors are RFC 9457 problem documents: decide by `code`. Each answer has X-Request-Id and X-Correlation-Id, those of the caller where they are 1 to 128 of `A-Z a-z 0-9 . _ -`. Of a key that stands twice in a JSON object, the last one counts.',
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
  for (const { method, url, schema, config, handler } of routes) site.route({ method, url, schema, config, handler })
  await site.ready()
  return site
}

function securityOf ({ isGuarded, isForOperators }: FastifyContextConfig = {}): Record<string, string[]>[] {
  if (isGuarded) return [{ bearer: [] }]
  return isForOperators ? [{ operator: [] }] : []
}

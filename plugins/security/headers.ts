import helmet from '@fastify/helmet'
import Fastify from 'fastify'

type Headers = Readonly<Record<string, string>>

// What browsers heed in a document alone; on every answer these six cost a tenth of a small request.
const OF_PAGES = ['cross-origin-opener-policy', 'origin-agent-cluster', 'x-dns-prefetch-control', 'x-download-options', 'x-permitted-cross-domain-policies', 'x-xss-protection']
const OF_ROUTES = ['content-security-policy', 'cache-control']
const OF_FRAMEWORK = ['content-length', 'content-type', 'date', 'connection']

const headers = await helmetHeaders()

/** What every answer has. */
export const COMMON = only((name) => !OF_PAGES.includes(name))
/** Those of them that a route may have say something else. */
export const USUAL = only((name) => OF_ROUTES.includes(name))
/** And those that it may not. */
export const FIXED = only((name) => !OF_PAGES.includes(name) && !OF_ROUTES.includes(name))
/** What only a page has a use for. */
export const PAGES = only((name) => OF_PAGES.includes(name))

/** What helmet says is the same for every answer, so it is asked once; in the app its hooks would run for each request. */
async function helmetHeaders () {
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
  const own = Object.entries(headers).filter(([name]) => !OF_FRAMEWORK.includes(name))
  // Nothing is cached unless its route says so.
  return { ...Object.fromEntries(own.map(([name, value]) => [name, String(value)])), 'cache-control': 'no-store' }
}

function only (isWanted: (name: string) => boolean): Headers {
  return Object.freeze(Object.fromEntries(Object.entries(headers).filter(([name]) => isWanted(name))))
}

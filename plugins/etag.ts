import { hash } from 'node:crypto'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance { etag: typeof etag }
}

const CHARACTERS = 27

/** Strong validators and what conditional requests say of them (RFC 9110 sections 8.8.3 and 13.1). */
export const etag = {
  of: (version: string) => `"${hash('sha256', version, 'base64url').slice(0, CHARACTERS)}"`,

  /** Whether an If-None-Match header names this version: a weak comparison. */
  isNamedBy: (ifNoneMatch: string | undefined, tag: string) => ifNoneMatch !== undefined && names(ifNoneMatch.replaceAll('W/', ''), tag),

  /** Whether an If-Match header asks for this version: a strong comparison. */
  isWanted: (ifMatch: string, tag: string) => names(ifMatch, tag)
}

function names (header: string, tag: string) {
  return header.trim() === '*' || header.split(',').some((listed) => listed.trim() === tag)
}

export default fp(async (app) => {
  app.decorate('etag', etag)
}, { name: 'etag' })

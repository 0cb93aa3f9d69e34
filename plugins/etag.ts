import { hash } from 'node:crypto'
import { Readable } from 'node:stream'
import fp from 'fastify-plugin'
import { PreconditionFailed } from './errors.ts'

declare module 'fastify' {
  interface FastifyInstance { etag: typeof etag }
}

export type Conditions = { 'if-match'?: string | undefined, 'if-none-match'?: string | undefined }

const CHARACTERS = 27
const TAG = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g
// A list may hold empty elements (section 5.6.1).
const LIST = new RegExp(`^[ \\t,]*${TAG.source}(?:[ \\t]*,[ \\t,]*${TAG.source})*[ \\t,]*$`)

/** Strong validators and what conditional requests say of them (RFC 9110 sections 8.8.3 and 13). */
export const etag = {
  of: (version: string) => `"${hash('sha256', version, 'base64url').slice(0, CHARACTERS)}"`,

  /** Whether If-None-Match says that the client has this version already; throws PreconditionFailed where If-Match wants another one. */
  isKnown ({ 'if-match': ifMatch, 'if-none-match': ifNoneMatch }: Conditions, tag: string) {
    if (ifMatch !== undefined && !names(ifMatch, tag)) throw new PreconditionFailed()
    return ifNoneMatch !== undefined && (names(ifNoneMatch, tag) || names(ifNoneMatch, `W/${tag}`))
  },

  /** What a 304 is sent with: anything else would be given a length, which is not that of the 200. */
  nothing: () => Readable.from([]) as unknown as null
}

function names (header: string, tag: string) {
  return header.trim() === '*' || (LIST.test(header) && header.match(TAG)!.includes(tag))
}

export default fp(async (app) => {
  app.decorate('etag', etag)
}, { name: 'etag', dependencies: ['errors'] })

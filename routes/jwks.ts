import { Type } from '@sinclair/typebox'
import { answers, ConditionHeadersSchema, ETAG } from '../schemas/common.ts'
import { JwksSchema } from '../schemas/ops.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const jwks: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/.well-known/jwks.json', {
    schema: {
      operationId: 'getJwks',
      tags: ['auth'],
      summary: 'The keys that verify access tokens',
      description: 'For services that verify tokens themselves. A new key is published before it signs.',
      headers: ConditionHeadersSchema,
      response: answers({ 200: JwksSchema, 304: Type.Null({ description: 'They are still the same', headers: ETAG }) }, 'PRECONDITION_FAILED')
    }
  }, async (request, reply) => {
    const keys = app.keys.current.keys.map(({ jwk }) => jwk)
    const etag = app.etag.of(keys.map(({ kid }) => kid).join())
    reply.headers({ etag, 'cache-control': 'public, max-age=300' })
    if (app.etag.isKnown(request.headers, etag)) return reply.code(304).send(app.etag.nothing())
    return { keys }
  })
}

export default jwks

import { test } from 'tap'
import { buildWith } from '../../build-with.ts'
import { signUp } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

test('a guarded route keeps the hook and the error handler that it brings', async (t) => {
  const app = await buildWith(t, (app) => app.register(async (app: FastifyInstance) => {
    app.guard()
    const preHandler = async () => { throw new Error('of the hook') }
    for (const [url, hooks] of Object.entries({ '/one': preHandler, '/many': [async () => {}, preHandler] })) {
      app.post(url, { preHandler: hooks, errorHandler: ({ message }, _, reply) => reply.code(202).send(message) }, async () => 'of the handler')
    }
  }))
  const { headers } = await signUp(app)
  for (const url of ['/one', '/many']) t.match(await app.inject({ method: 'POST', url, headers }), { statusCode: 202, body: 'of the hook' })
})

import { LoginSchema, TokenPairSchema } from '../../schemas/auth.ts'
import { answers } from '../../schemas/common.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const login: FastifyPluginAsyncTypebox = async (app) => {
  app.acceptForms()

  app.post('/login', {
    config: { needsHash: true },
    onRequest: (request, reply) => app.limits.look(request, reply, ['login-address']),
    schema: {
      operationId: 'login',
      tags: ['auth'],
      summary: 'Open a session',
      description: 'One answer, after the same time, for an unknown address, a wrong password and a disabled account. Beyond 20 live sessions (SESSION_LIMIT) the one that was idle for longest ends; each ends 30 days after its login (REFRESH_ABSOLUTE_TTL).',
      body: LoginSchema,
      response: answers({ 200: TokenPairSchema }, 'INVALID_CREDENTIALS')
    }
  }, async (request, reply) => {
    const { email, password } = request.body
    return app.limits.attempt(request, reply, app.users.canonicalEmail(email), async () => {
      const user = await app.users.authenticate(email, password)
      return app.sessions.open(user, request)
    })
  })
}

export default login

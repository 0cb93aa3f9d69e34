import { RegisteredSchema, RegisterSchema } from '../../schemas/auth.ts'
import { answers, NEW_PASSWORD } from '../../schemas/common.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const register: FastifyPluginAsyncTypebox = async (app) => {
  app.acceptForms()

  app.post('/register', {
    config: { needsHash: true },
    onRequest: (request, reply) => app.limits.look(request, reply, ['register']),
    schema: {
      operationId: 'register',
      tags: ['auth'],
      summary: 'Make an account',
      description: 'The account and its first session are made together or not at all. Whoever asks is told that an address is taken, as often as the limit lets him: no mail is sent to prove whose it is.',
      body: RegisterSchema,
      response: answers({ 201: RegisteredSchema }, 'EMAIL_TAKEN', ...NEW_PASSWORD)
    }
  }, async (request, reply) => {
    const draft = app.users.draft(request.body)
    const registered = await app.limits.spend(request, reply, ['register'], () => app.users.register(draft, request))
    // Relative, so that it is right behind a prefix as well.
    reply.code(201).header('location', '../me')
    return registered
  })
}

export default register

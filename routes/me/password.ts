import { Type } from '@sinclair/typebox'
import { PasswordChangeSchema } from '../../schemas/auth.ts'
import { answers, GUARDED, NEW_PASSWORD } from '../../schemas/common.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const password: FastifyPluginAsyncTypebox = async (app) => {
  app.guard()

  app.put('/password', {
    config: { needsHash: true, endsSessions: true },
    schema: {
      operationId: 'changePassword',
      tags: ['me'],
      summary: 'Change my password',
      description: 'Ends all other sessions; this one goes on.',
      body: PasswordChangeSchema,
      response: answers({ 204: Type.Null({ description: 'The password is changed' }) }, ...GUARDED, 'INVALID_CREDENTIALS', 'PASSWORD_UNCHANGED', ...NEW_PASSWORD)
    }
  }, async (request, reply) => {
    const { id, sessionId } = request.user
    const account = await app.users.account(id)
    app.users.checkNewPassword(account, request.body)
    // It takes two hashes, where a login takes one.
    await app.limits.attempt(request, reply, account.emailCanonical, () => app.users.changePassword(account, sessionId, request.body), { costs: true })
    reply.code(204)
  })
}

export default password

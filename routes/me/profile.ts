import { Type } from '@sinclair/typebox'
import { PasswordProofSchema } from '../../schemas/auth.ts'
import { answers, ConditionHeadersSchema, ETAG, GUARDED } from '../../schemas/common.ts'
import { RenameSchema, UserAnswerSchema } from '../../schemas/users.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const profile: FastifyPluginAsyncTypebox = async (app) => {
  app.guard()

  app.get('', {
    schema: {
      operationId: 'getMe',
      tags: ['me'],
      summary: 'Who I am',
      description: 'Carries a strong ETag.',
      headers: ConditionHeadersSchema,
      response: answers({ 200: UserAnswerSchema, 304: Type.Null({ description: 'It is still this version', headers: ETAG }) }, ...GUARDED, 'PRECONDITION_FAILED')
    }
  }, (request, reply) => {
    // Without a promise where the profile is in memory: most reads are.
    const found = app.users.get(request.user.id, request.headers)
    return found instanceof Promise ? found.then(answer) : answer(found)

    function answer (user: Awaited<typeof found>) {
      const etag = app.users.etagOf(user)
      reply.headers({ etag, 'cache-control': 'private, no-cache' })
      if (!app.etag.isKnown(request.headers, etag)) return { user }
      reply.code(304)
      return app.etag.nothing()
    }
  })

  app.patch('', {
    schema: {
      operationId: 'updateMe',
      tags: ['me'],
      summary: 'Change my display name',
      description: 'With If-Match the change is made to that version or not at all.',
      headers: ConditionHeadersSchema,
      body: RenameSchema,
      response: answers({ 200: UserAnswerSchema }, ...GUARDED, 'PRECONDITION_FAILED')
    }
  }, async (request, reply) => {
    const user = await app.users.rename(request.user.id, request.body.displayName, request.headers)
    reply.headers({ etag: app.users.etagOf(user), 'cache-control': 'private, no-cache' })
    return { user }
  })

  app.delete('', {
    config: { needsHash: true, endsSessions: true },
    schema: {
      operationId: 'deleteMe',
      tags: ['me'],
      summary: 'Delete my account',
      description: 'The account and all that belongs to it is gone. Needs the password.',
      headers: ConditionHeadersSchema,
      body: PasswordProofSchema,
      response: answers({ 204: Type.Null({ description: 'The account is gone' }) }, ...GUARDED, 'INVALID_CREDENTIALS', 'PRECONDITION_FAILED')
    }
  }, async (request, reply) => {
    const { id, sessionId } = request.user
    const account = await app.users.account(id)
    const version = await app.users.requireVersion(id, request.headers)
    await app.limits.attempt(request, reply, account.emailCanonical, () => app.users.remove(account, sessionId, request.body.password, version))
    reply.code(204)
  })
}

export default profile

import { Type } from '@sinclair/typebox'
import { PasswordProofSchema } from '../../schemas/auth.ts'
import { answers, GUARDED } from '../../schemas/common.ts'
import { ConditionHeadersSchema, PreconditionHeadersSchema, RenameSchema, UserAnswerSchema } from '../../schemas/users.ts'
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
      response: answers({ 200: UserAnswerSchema, 304: Type.Null({ description: 'It is still this version' }) }, ...GUARDED)
    }
  }, async (request, reply) => {
    const user = await app.users.get(request.user.id)
    const etag = app.users.etagOf(user)
    reply.headers({ etag, 'cache-control': 'private, no-cache' })
    if (app.etag.isNamedBy(request.headers['if-none-match'], etag)) return reply.code(304).send(null)
    return { user }
  })

  app.patch('', {
    schema: {
      operationId: 'updateMe',
      tags: ['me'],
      summary: 'Change my display name',
      description: 'With If-Match the change is made to that version or not at all.',
      headers: PreconditionHeadersSchema,
      body: RenameSchema,
      response: answers({ 200: UserAnswerSchema }, ...GUARDED, 'PRECONDITION_FAILED')
    }
  }, async (request, reply) => {
    const user = await app.users.rename(request.user.id, request.body.displayName, request.headers['if-match'])
    reply.headers({ etag: app.users.etagOf(user), 'cache-control': 'private, no-cache' })
    return { user }
  })

  app.delete('', {
    schema: {
      operationId: 'deleteMe',
      tags: ['me'],
      summary: 'Delete my account',
      description: 'The account and all that belongs to it is gone. Needs the password.',
      body: PasswordProofSchema,
      response: answers({ 204: Type.Null({ description: 'The account is gone' }) }, ...GUARDED, 'INVALID_CREDENTIALS')
    }
  }, async (request, reply) => {
    const account = await app.users.account(request.user.id)
    await app.limits.attempt(request, reply, account.emailCanonical, () => app.users.remove(account, request.body.password))
    reply.code(204)
  })
}

export default profile

import { Type } from '@sinclair/typebox'
import { IdSchema, Nullable, Text, TimeSchema } from './common.ts'

export const EmailSchema = Text({
  minLength: 3,
  maxLength: 320,
  pattern: '^\\s*[^\\s@]+@[^\\s@]+\\s*$',
  description: 'Trimmed; upper and lower case are one account',
  examples: ['ada@example.com']
})

export const DisplayNameSchema = Nullable({
  minLength: 1,
  maxLength: 100,
  pattern: '^(?=.*\\S)[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$',
  description: '1 to 100 characters, not only spaces and none of them a control character; trimmed. null for none',
  examples: ['Ada Lovelace']
})

export const UserSchema = Type.Object({
  id: IdSchema,
  email: Type.String({ examples: ['ada@example.com'] }),
  displayName: Nullable({ examples: ['Ada Lovelace'] }),
  createdAt: TimeSchema,
  updatedAt: TimeSchema
}, { title: 'User', additionalProperties: false })

export const UserAnswerSchema = Type.Object({ user: UserSchema }, { title: 'UserAnswer', description: 'The user; ETag is the version', additionalProperties: false })

export const RenameSchema = Type.Object({
  displayName: DisplayNameSchema
}, { title: 'ProfileChange', additionalProperties: false, examples: [{ displayName: 'Ada Lovelace' }] })

export const PreconditionHeadersSchema = Type.Object({
  'if-match': Type.Optional(Type.String({ maxLength: 1000, description: 'Change this version only' }))
})

export const ConditionHeadersSchema = Type.Object({
  'if-none-match': Type.Optional(Type.String({ maxLength: 1000, description: 'Answer 304 when this is still the version' }))
})

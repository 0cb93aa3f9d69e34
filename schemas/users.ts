import { Type } from '@sinclair/typebox'
import { ETAG, IdSchema, Nullable, Text, TimeSchema } from './common.ts'

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
  pattern: '^(?=.*[^\\s\\u200b-\\u200f\\u2060])[^\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]*$',
  description: '1 to 100 characters, one or more of them visible, none of them a control character or a change of direction; trimmed. null for none',
  examples: ['Ada Lovelace']
})

export const UserSchema = Type.Object({
  id: IdSchema,
  email: Type.String({ examples: ['ada@example.com'] }),
  displayName: Nullable({ examples: ['Ada Lovelace'] }),
  createdAt: TimeSchema,
  updatedAt: TimeSchema
}, { title: 'User' })

export const UserAnswerSchema = Type.Object({ user: UserSchema }, { title: 'UserAnswer', description: 'The user', headers: ETAG })

export const RenameSchema = Type.Object({
  displayName: DisplayNameSchema
}, { title: 'ProfileChange', additionalProperties: false, examples: [{ displayName: 'Ada Lovelace' }] })

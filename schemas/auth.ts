import { Type } from '@sinclair/typebox'
import { header, Text } from './common.ts'
import { DisplayNameSchema, EmailSchema, UserSchema } from './users.ts'

// The rules of a password have codes of their own; the bound of the body is the only one here.
const PASSWORD = { maxLength: 10_240, examples: ['correct horse battery staple'] }
const NewPasswordSchema = Text({ ...PASSWORD, description: 'PASSWORD_MIN_LENGTH (8) to 128 characters, not among the common ones, without the e-mail name (from 4 characters on) or that of the service' })
const PasswordSchema = Text({ ...PASSWORD, minLength: 1 })

export const RegisterSchema = Type.Object({
  email: EmailSchema,
  password: NewPasswordSchema,
  displayName: Type.Optional(DisplayNameSchema)
}, { title: 'Registration', additionalProperties: false, examples: [{ email: 'ada@example.com', password: 'correct horse battery staple', displayName: 'Ada Lovelace' }] })

export const LoginSchema = Type.Object({
  email: EmailSchema,
  password: PasswordSchema
}, { title: 'Credentials', additionalProperties: false, examples: [{ email: 'ada@example.com', password: 'correct horse battery staple' }] })

export const RefreshSchema = Type.Object({
  refreshToken: Text({ maxLength: 1000, description: 'The refresh token of the last answer' })
}, { title: 'Refreshing', additionalProperties: false, examples: [{ refreshToken: 'rt1.AZNvXnwdfzqbHi9MimgOEQAAAAA…' }] })

export const PasswordChangeSchema = Type.Object({
  currentPassword: PasswordSchema,
  newPassword: NewPasswordSchema
}, { title: 'PasswordChange', additionalProperties: false, examples: [{ currentPassword: 'correct horse battery staple', newPassword: 'staple battery horse correct' }] })

export const PasswordProofSchema = Type.Object({
  password: PasswordSchema
}, { title: 'PasswordProof', additionalProperties: false, examples: [{ password: 'correct horse battery staple' }] })

const pair = {
  accessToken: Type.String({ description: 'JWT for Authorization: Bearer', examples: ['eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ii4uLiJ9.…'] }),
  refreshToken: Type.String({ description: 'Opaque; each use gives a new one', examples: ['rt1.AZNvXnwdfzqbHi9MimgOEQAAAAA…'] }),
  tokenType: Type.Literal('Bearer'),
  expiresIn: Type.Integer({ description: 'Life of the access token, s', examples: [900] }),
  refreshExpiresIn: Type.Integer({ description: 'Life of the refresh token unless it is used, s', examples: [604_800] })
}
export const TokenPairSchema = Type.Object(pair, { title: 'TokenPair', description: 'A pair of tokens' })
export const RegisteredSchema = Type.Object({ user: UserSchema, ...pair }, { title: 'Registered', description: 'The user and a pair of tokens', headers: { Location: header('/me, relative to this path') } })

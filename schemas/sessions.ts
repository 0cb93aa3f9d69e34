import { Type } from '@sinclair/typebox'
import { IdSchema, Nullable, TimeSchema } from './common.ts'

const SessionSchema = Type.Object({
  id: IdSchema,
  createdAt: TimeSchema,
  lastSeenAt: Type.String({ format: 'date-time', description: 'The last login or refresh' }),
  expiresAt: Type.String({ format: 'date-time', description: 'Its end; a refresh puts it off, to 30 days after the login at most (REFRESH_ABSOLUTE_TTL)' }),
  ip: Nullable({ description: 'Where it was opened from', examples: ['203.0.113.7'] }),
  userAgent: Nullable({ examples: ['Mozilla/5.0'] }),
  current: Type.Boolean({ description: 'Whether this is the session of the request' })
}, { title: 'Session' })

export const SessionsSchema = Type.Object({
  sessions: Type.Array(SessionSchema)
}, { title: 'Sessions', description: 'Live sessions, the latest first' })

export const SessionParamsSchema = Type.Object({ id: IdSchema }, { additionalProperties: false })

export const RevokeAllQuerySchema = Type.Object({
  all: Type.Optional(Type.Boolean({ default: false, description: 'This session too' }))
}, { additionalProperties: false })

import Fastify from 'fastify'
import { LoginSchema, RefreshSchema, TokenPairSchema } from '../../../schemas/auth.ts'
import { HealthSchema } from '../../../schemas/ops.ts'
import { UserAnswerSchema } from '../../../schemas/users.ts'
import { PAIR, USER } from './answers.ts'

// Bare Fastify with the payloads and schemas of microts, and nothing else: no headers, no ids, no log, no metrics.
const app = Fastify({ ajv: { customOptions: { keywords: ['x-well-formed'] } } })
app.get('/health', { schema: { response: { 200: HealthSchema } } }, async () => ({ status: 'ok', timestamp: new Date().toISOString(), environment: 'production' }))
app.get('/me', { schema: { response: { 200: UserAnswerSchema } } }, async () => ({ user: USER }))
app.post('/auth/refresh', { schema: { body: RefreshSchema, response: { 200: TokenPairSchema } } }, async () => PAIR)
app.post('/auth/login', { schema: { body: LoginSchema, response: { 200: TokenPairSchema } } }, async () => PAIR)

console.log(`listening on ${await app.listen({ port: Number(process.env.PORT) })}`)

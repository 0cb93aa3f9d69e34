import { Type, type Static } from '@sinclair/typebox'
import { FiringSchema } from './alerts.ts'
import { Enum, ETAG, TimeSchema } from './common.ts'

export const HealthSchema = Type.Object({
  status: Type.Literal('ok'),
  timestamp: TimeSchema,
  environment: Type.String({ examples: ['production'] })
}, { title: 'Health', description: 'The process answers' })

const CheckSchema = Type.Object({ status: Enum(['up', 'down', 'degraded', 'disabled']) }, { title: 'Check' })

export const ReadySchema = Type.Object({
  ready: Type.Boolean(),
  timestamp: TimeSchema,
  checks: Type.Object({ database: CheckSchema, redis: CheckSchema, migrations: CheckSchema })
}, { title: 'Readiness', description: 'Whether traffic should come here' })

const DependencySchema = Type.Object({
  status: Enum(['up', 'down', 'degraded', 'disabled']),
  breaker: Enum(['closed', 'open', 'half-open', 'disabled'], { description: 'State of its circuit breaker' })
}, { title: 'Dependency' })

export const StatusSchema = Type.Object({
  service: Type.String({ examples: ['microts'] }),
  version: Type.String({ examples: ['0.1.0'] }),
  status: Enum(['up', 'down', 'degraded']),
  uptime: Type.Object({
    seconds: Type.Integer(),
    formatted: Type.String({ examples: ['3d 4h 12m 9s'] }),
    startedAt: TimeSchema
  }),
  dependencies: Type.Object({ database: DependencySchema, redis: DependencySchema, webhook: DependencySchema }),
  hashing: Type.Object({
    build: Enum(['generic', 'native'], { description: 'Whether argon2 was compiled for this CPU' }),
    concurrency: Type.Integer({ description: 'Hashes at a time' })
  }),
  alerts: Type.Object({ total: Type.Integer(), firing: FiringSchema, resolved: Type.Integer() }),
  links: Type.Record(Type.String(), Type.String())
}, { title: 'Status', description: 'The service and what it depends on' })
export type Status = Static<typeof StatusSchema>

export const MetricsSchema = Type.Unsafe<string>({
  description: 'Every metric of this instance',
  content: {
    'text/plain': { schema: Type.String() },
    'application/openmetrics-text': { schema: Type.String() }
  }
})

export const ApiSchema = Type.Object({
  name: Type.String({ examples: ['microts'] }),
  version: Type.String({ examples: ['0.1.0'] }),
  links: Type.Record(Type.String(), Type.String())
}, { title: 'Api', description: 'Where to go from here' })

export const JwksSchema = Type.Object({
  keys: Type.Array(Type.Object({
    kty: Type.Literal('OKP'),
    crv: Type.Literal('Ed25519'),
    x: Type.String({ examples: ['11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'] }),
    kid: Type.String({ description: 'RFC 7638 thumbprint', examples: ['kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k'] }),
    alg: Type.Literal('EdDSA'),
    use: Type.Literal('sig')
  }, { title: 'Jwk' }))
}, { title: 'Jwks', description: 'Public keys (RFC 7517)', headers: ETAG })

import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import envSchema from 'env-schema'
import fp from 'fastify-plugin'
import { Type, type Static } from '@sinclair/typebox'
import { developmentSecrets } from './development.ts'
import { faultsOf } from './faults.ts'
import { stateFolder } from './state-folder.ts'
import manifest from '../../package.json' with { type: 'json' }

declare module 'fastify' {
  interface FastifyInstance {
    config: Config
    /** The version of microts; `version` is Fastify's. */
    release: string
  }
}

const Csv = (description: string) => Type.Unsafe<string[]>({ type: 'string', separator: ',', default: '', description })
const Milliseconds = (value: number, description: string) => Type.Integer({ minimum: 0, maximum: 600_000, default: value, description })
const Seconds = (value: number, description: string) => Type.Integer({ minimum: 1, maximum: 31_536_000, default: value, description })
const Count = (value: number, description: string) => Type.Integer({ minimum: 1, maximum: 1_000_000, default: value, description })

export const EnvSchema = Type.Object({
  NODE_ENV: Type.Unsafe<'development' | 'production' | 'test'>({ type: 'string', enum: ['development', 'production', 'test'], default: 'development', description: 'production embeds nothing and gives no secret a default' }),
  HOST: Type.String({ default: '127.0.0.1', description: 'Address to listen on; 0.0.0.0 in production' }),
  PORT: Type.Integer({ minimum: 0, maximum: 65_535, default: 3000, description: 'Port to listen on' }),
  LOG_LEVEL: Type.Unsafe<string>({ type: 'string', enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], default: 'info', description: 'Least severe level that is logged' }),

  DATABASE_URL: Type.Optional(Type.String({ pattern: '^postgres(ql)?://', description: 'PostgreSQL; outside production an embedded one is started when absent' })),
  DB_POOL_SIZE: Count(10, 'Connections kept by this process, the revocation feed excluded'),
  DB_CONNECT_TIMEOUT: Milliseconds(1000, 'Longest wait for a connection, ms'),
  DB_QUERY_TIMEOUT: Milliseconds(1800, 'Longest wait for a statement, ms'),
  MIGRATE_ON_START: Type.Boolean({ default: true, description: 'Migrate when the process starts; false in production, where a job migrates' }),

  REDIS_URL: Type.Optional(Type.String({ pattern: '^rediss?://', description: 'Redis; absent: one instance does in process what Redis does for many' })),
  REDIS_CLUSTER_NODES: Csv('host:port,… of a Redis Cluster'),
  REDIS_COMMAND_TIMEOUT: Milliseconds(150, 'Longest wait for a Redis command, ms'),

  JWT_KEYS: Type.Optional(Type.String({ description: 'JWKS of Ed25519 private keys, JSON' })),
  JWT_KEYS_FILE: Type.Optional(Type.String({ description: 'File with that JSON, read again when it changes; made outside production' })),
  JWT_ISSUER: Type.String({ minLength: 1, description: 'iss of access tokens; http://localhost:PORT outside production' }),
  JWT_AUDIENCE: Type.String({ minLength: 1, default: 'microts', description: 'aud of access tokens' }),
  ACCESS_TOKEN_TTL: Type.Integer({ minimum: 1, maximum: 3600, default: 900, description: 'Life of an access token, s' }),

  REFRESH_TOKEN_SECRET: Csv('Secrets of refresh tokens, 32 bytes or more each: all verify, the first signs; made outside production'),
  REFRESH_IDLE_TTL: Seconds(604_800, 'A session ends when it is not refreshed for so long, s'),
  REFRESH_ABSOLUTE_TTL: Seconds(2_592_000, 'A session ends so long after its login, s'),
  REFRESH_GRACE_SECONDS: Type.Integer({ minimum: 0, maximum: 300, default: 30, description: 'The parent token may be presented again for so long, s' }),
  SESSION_LIMIT: Count(20, 'Live sessions a user; the least recently used goes first'),

  PASSWORD_MIN_LENGTH: Type.Integer({ minimum: 8, maximum: 64, default: 8, description: 'Shortest password, code points' }),
  ARGON2_MEMORY: Type.Integer({ minimum: 8, maximum: 4_194_304, default: 19_456, description: 'Memory of a hash, KiB' }),
  ARGON2_TIME: Type.Integer({ minimum: 1, maximum: 100, default: 2, description: 'Passes of a hash' }),
  ARGON2_PARALLELISM: Type.Integer({ minimum: 1, maximum: 64, default: 1, description: 'Lanes of a hash' }),
  HASH_CONCURRENCY: Type.Integer({ minimum: 1, maximum: 512, description: 'Hashes at a time; default: the number of cores' }),
  HASH_QUEUE_TIMEOUT: Milliseconds(2000, 'A hash that would wait longer is refused at once, ms'),

  RATE_LIMIT_MAX: Count(60, 'Requests per client address and window'),
  RATE_LIMIT_WINDOW: Seconds(60, 'Window of the address and user limits, s'),
  RATE_LIMIT_USER_MAX: Count(300, 'Requests per user and RATE_LIMIT_WINDOW'),
  RATE_LIMIT_LOGIN_MAX: Count(5, 'Failed logins per address and account in RATE_LIMIT_AUTH_WINDOW'),
  RATE_LIMIT_LOGIN_ADDRESS_MAX: Count(30, 'Failed logins per address in RATE_LIMIT_AUTH_WINDOW'),
  RATE_LIMIT_REGISTER_MAX: Count(5, 'Registrations per address in RATE_LIMIT_AUTH_WINDOW'),
  RATE_LIMIT_AUTH_WINDOW: Seconds(900, 'Window of the login and registration limits, s'),
  RATE_LIMIT_ACCOUNT_MAX: Count(100, 'Consecutive failed logins per account in 24 h'),
  RATE_LIMIT_REFRESH_MAX: Count(30, 'Refreshes per session and RATE_LIMIT_REFRESH_WINDOW'),
  RATE_LIMIT_REFRESH_WINDOW: Seconds(300, 'Window of the refresh limit, s'),

  TRUSTED_PROXIES: Csv('Addresses and CIDRs whose X-Forwarded-For is believed, comma-separated'),
  ALLOWED_ORIGINS: Csv('Exact origins for CORS, comma-separated'),

  REQUEST_TIMEOUT: Milliseconds(12_000, 'Longest time an answer may take, ms'),
  SHUTDOWN_DELAY: Milliseconds(5000, 'Time between unready and closed, ms; 0 outside production'),
  SHUTDOWN_TIMEOUT: Milliseconds(20_000, 'Longest time a stop may take, ms'),

  OPS_TOKEN: Type.Optional(Type.String({ description: 'Bearer token of /metrics and /alerts; required in production' })),
  ALERT_WEBHOOK_URL: Type.Optional(Type.String({ pattern: '^https?://', description: 'Where alerts are forwarded to' })),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(Type.String({ pattern: '^https?://', description: 'OTLP over HTTP; absent: no tracing is loaded' })),
  OTEL_SERVICE_NAME: Type.String({ default: 'microts', description: 'service.name of the traces' })
})
export type Config = Readonly<Static<typeof EnvSchema>>
type Env = Record<string, string | undefined>

/** Settings that may come from a file named by NAME_FILE; JWT_KEYS_FILE is a setting of its own, since it is read again. */
export const SECRETS = ['DATABASE_URL', 'REDIS_URL', 'REFRESH_TOKEN_SECRET', 'OPS_TOKEN', 'ALERT_WEBHOOK_URL'] as const

/** Names every fault of the environment at once, and never a value. */
export class ConfigFault extends Error {
  faults: string[]

  constructor (faults: string[]) {
    super(['The settings are not usable:', ...faults.map((fault) => `  - ${fault}`)].join('\n'))
    this.name = 'ConfigFault'
    this.faults = faults
  }
}

/** Reads the settings once. Throws a ConfigFault that lists all that is wrong. What development needs is kept in `folder`. */
export function loadConfig (env: Env, folder = stateFolder(env)): Config {
  const faults: string[] = []
  const given = tidied(readSecretFiles(tidied(env), faults))
  const data = withDefaults(given, folder, faults)
  faults.push(...faultsOf(data))
  const config = parse(data, faults)
  if (!config) throw new ConfigFault(faults)
  Object.values(config).forEach(Object.freeze)
  return Object.freeze(config)
}

function parse (data: Env, faults: string[]) {
  try {
    const config = envSchema<Static<typeof EnvSchema>>({ schema: EnvSchema, data, env: false })
    return faults.length === 0 ? config : undefined
  } catch (error) {
    const { errors } = error as { errors: { instancePath: string, message: string, params: { missingProperty?: string } }[] }
    faults.push(...errors.map(({ instancePath, message, params }) =>
      params.missingProperty ? `${params.missingProperty} is required` : `${instancePath.slice(1)} ${message}`))
    return undefined
  }
}

// A blank is as good as nothing, in a list too.
function tidied (env: Env): Env {
  const lists = Object.keys(EnvSchema.properties).filter((name) => 'separator' in EnvSchema.properties[name as keyof Config])
  const trimmed = Object.entries(env).map(([name, value = '']) =>
    [name, lists.includes(name) ? value.split(',').map((item) => item.trim()).filter(Boolean).join() : value.trim()] as const)
  return Object.fromEntries(trimmed.filter(([, value]) => value))
}

function readSecretFiles (env: Env, faults: string[]): Env {
  const files: Env = {}
  for (const name of SECRETS) {
    const file = env[`${name}_FILE`]
    if (!file) continue
    if (env[name]) faults.push(`${name} and ${name}_FILE are both set`)
    try {
      files[name] = readFileSync(file, 'utf8')
    } catch {
      faults.push(`${name}_FILE cannot be read`)
    }
  }
  return { ...env, ...files }
}

function withDefaults (env: Env, folder: string, faults: string[]): Env {
  const cores = { HASH_CONCURRENCY: String(availableParallelism()) }
  if (env.NODE_ENV === 'production') return { ...cores, HOST: '0.0.0.0', MIGRATE_ON_START: 'false', ...env }
  const defaults: Env = { ...cores, SHUTDOWN_DELAY: '0', JWT_ISSUER: `http://localhost:${env.PORT ?? 3000}` }
  try {
    return { ...defaults, ...developmentSecrets(env, folder), ...env }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    faults.push(`The secrets of development cannot be kept in the state folder (${code}): set JWT_KEYS and REFRESH_TOKEN_SECRET`)
    return { ...defaults, ...env }
  }
}

export default fp<{ config: Config }>(async (app, { config }) => {
  app.decorate('config', config)
  app.decorate('release', manifest.version)
}, { name: 'config' })

import { Type, type Static } from '@sinclair/typebox'

const Csv = (description: string) => Type.Unsafe<string[]>({ type: 'string', separator: ',', default: '', description })
const Milliseconds = (value: number, description: string, minimum = 1) => Type.Integer({ minimum, maximum: 600_000, default: value, description })
const Seconds = (value: number, description: string) => Type.Integer({ minimum: 1, maximum: 31_536_000, default: value, description })
const Count = (value: number, description: string) => Type.Integer({ minimum: 1, maximum: 1_000_000, default: value, description })

export const EnvSchema = Type.Object({
  NODE_ENV: Type.Unsafe<'development' | 'production' | 'test'>({ type: 'string', enum: ['development', 'production', 'test'], default: 'development', description: 'production embeds nothing and gives no secret a default' }),
  HOST: Type.String({ default: '127.0.0.1', description: 'Address to listen on; 0.0.0.0 in production' }),
  PORT: Type.Integer({ minimum: 0, maximum: 65_535, default: 3000, description: 'Port to listen on' }),
  LOG_LEVEL: Type.Unsafe<string>({ type: 'string', enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], default: 'info', description: 'Least severe level that is logged' }),

  DATABASE_URL: Type.Optional(Type.String({ pattern: '^postgres(ql)?://', description: 'PostgreSQL; outside production an embedded one is started when absent' })),
  DB_POOL_SIZE: Count(10, 'Connections for requests; three more are for the revocation feed and checks, and one at times for a purge or a migration'),
  DB_CONNECT_TIMEOUT: Milliseconds(1000, 'Longest wait for a connection, ms'),
  DB_QUERY_TIMEOUT: Milliseconds(1800, 'Longest wait for a statement, ms'),
  MIGRATE_ON_START: Type.Boolean({ default: true, description: 'Migrate when the process starts; false in production, where a job migrates' }),

  REDIS_URL: Type.Optional(Type.String({ pattern: '^rediss?://', description: 'Redis, redis(s)://user:password@host:port; absent: one instance does in process what Redis does for many' })),
  REDIS_CLUSTER_NODES: Csv('host:port,… of a Redis Cluster, or URLs like REDIS_URL; the credentials of the first are those of all'),
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
  ARGON2_MEMORY: Type.Integer({ minimum: 8, maximum: 4_194_304, default: 19_456, description: 'Memory of a hash, KiB; production takes no less' }),
  ARGON2_TIME: Type.Integer({ minimum: 1, maximum: 100, default: 2, description: 'Passes of a hash; production takes no less' }),
  ARGON2_PARALLELISM: Type.Integer({ minimum: 1, maximum: 64, default: 1, description: 'Lanes of a hash' }),
  HASH_CONCURRENCY: Type.Integer({ minimum: 1, maximum: 512, description: 'Hashes at a time; default: the number of cores' }),
  HASH_QUEUE_TIMEOUT: Milliseconds(2000, 'A hash that would wait longer is refused at once, ms', 0),

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

  MAX_EVENT_LOOP_DELAY: Milliseconds(250, 'Requests are refused while the event loop is held up for longer on the average, ms'),
  REQUEST_TIMEOUT: Milliseconds(12_000, 'Longest time an answer may take, ms'),
  SHUTDOWN_DELAY: Milliseconds(5000, 'Time between unready and closed, ms; 0 outside production', 0),
  SHUTDOWN_TIMEOUT: Milliseconds(20_000, 'Longest time a stop may take, ms'),

  OPS_TOKEN: Type.Optional(Type.String({ description: 'Bearer token of /metrics and /alerts; required in production' })),
  ALERT_WEBHOOK_URL: Type.Optional(Type.String({ pattern: '^https?://', description: 'Where alerts are forwarded to' })),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(Type.String({ pattern: '^https?://', description: 'OTLP over HTTP; absent: no tracing is loaded' })),
  OTEL_SERVICE_NAME: Type.String({ default: 'microts', description: 'service.name of the traces' })
})
export type Config = Readonly<Static<typeof EnvSchema>>

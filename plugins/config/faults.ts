import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import ConnectionParameters from 'pg/lib/connection-parameters'
import { parseKeys } from '../auth/key-set.ts'
import { EnvSchema, type Config } from './schema.ts'

type Env = Record<string, string | undefined>

const SECRET_BYTES = 32
const OPS_TOKEN_CHARACTERS = 32
const IN_A_HEADER = /^[\x20-\x7e]*$/
const PLACEHOLDER = /change.?me|replace.?me|placeholder|example|your.?(secret|key|token|password)|default|secret|password|passw0rd|\bdummy|insecure|x{6,}|0{8,}|1234567|abcdef/i
const PLACEHOLDER_PASSWORD = /^(change.?me|replace.?me|your.?password|placeholder|password|secret)$/i
const MANY_DIFFERENT_CHARACTERS = 8
// OWASP Password Storage Cheat Sheet, argon2id with one lane.
const LEAST_ARGON2 = { ARGON2_MEMORY: 19_456, ARGON2_TIME: 2 }

/** What no schema can say: secrets that are missing, weak or placeholders, and settings that contradict each other. */
export function faultsOf (env: Env): string[] {
  return [
    ...secretFaults(env),
    ...(env.NODE_ENV === 'production' ? productionFaults(env) : []),
    ...databaseFaults(env),
    ...keyFaults(env),
    ...endlessFaults(env),
    ...listFaults(env),
    ...contradictions(env)
  ]
}

function secretFaults (env: Env) {
  const faults = []
  if (listOf(env.REFRESH_TOKEN_SECRET).some((secret) => Buffer.byteLength(secret) < SECRET_BYTES)) faults.push(`REFRESH_TOKEN_SECRET needs ${SECRET_BYTES} bytes or more in each of its secrets`)
  if (!IN_A_HEADER.test(env.OPS_TOKEN ?? '')) faults.push('OPS_TOKEN takes one line of ASCII, as a header does')
  return faults
}

function productionFaults (env: Env) {
  const faults = ['DATABASE_URL', 'REFRESH_TOKEN_SECRET', 'OPS_TOKEN']
    .filter((name) => !env[name])
    .map((name) => `${name} is required in production`)
  if (!env.JWT_KEYS && !env.JWT_KEYS_FILE) faults.push('JWT_KEYS or JWT_KEYS_FILE is required in production')
  if (env.OPS_TOKEN && env.OPS_TOKEN.length < OPS_TOKEN_CHARACTERS) faults.push(`OPS_TOKEN needs ${OPS_TOKEN_CHARACTERS} characters or more`)
  if (listOf(env.REFRESH_TOKEN_SECRET).some(isGuessable)) faults.push('REFRESH_TOKEN_SECRET looks like a placeholder: take 32 random bytes, for example `openssl rand -base64 48`')
  if (env.OPS_TOKEN && isGuessable(env.OPS_TOKEN)) faults.push('OPS_TOKEN looks like a placeholder: take random characters, for example `openssl rand -base64 48`')
  for (const name of ['DATABASE_URL', 'REDIS_URL', 'REDIS_CLUSTER_NODES']) if (listOf(env[name]).some(isPlaceholderUrl)) faults.push(`${name} has a placeholder as its password`)
  for (const [name, least] of Object.entries(LEAST_ARGON2)) if (env[name] && Number(env[name]) < least) faults.push(`${name} must be ${least} or more in production`)
  return faults
}

function isGuessable (secret: string) {
  return PLACEHOLDER.test(secret) || new Set(secret).size < MANY_DIFFERENT_CHARACTERS
}

// Only what is meant to be replaced: the server may let a connection in by its network or certificate and read no password.
function isPlaceholderUrl (url: string) {
  const { password = '', searchParams } = URL.parse(url) ?? {}
  return [password, searchParams?.get('password') ?? ''].some((each) => PLACEHOLDER_PASSWORD.test(each))
}

// Read as pg does it, whenever it connects.
function databaseFaults ({ DATABASE_URL: url }: Env) {
  try {
    if (url) readUrl(url)
    return []
  } catch {
    return ['DATABASE_URL cannot be read: it takes one host, a password with / ? # @ and % escaped, and files that are there']
  }
}

// Not by all of pg, which tracing has to see being loaded.
function readUrl (url: string) {
  return new ConnectionParameters(url)
}

function keyFaults ({ JWT_KEYS: inline, JWT_KEYS_FILE: file }: Env) {
  if (inline && file) return ['JWT_KEYS and JWT_KEYS_FILE are both set']
  if (inline) return isKeySet(inline) ? [] : ['JWT_KEYS is not a JWKS of Ed25519 private keys, one of which may sign']
  if (!file) return []
  try {
    return isKeySet(readFileSync(file, 'utf8')) ? [] : ['JWT_KEYS_FILE holds no JWKS of Ed25519 private keys, one of which may sign']
  } catch {
    return ['JWT_KEYS_FILE cannot be read']
  }
}

function isKeySet (json: string) {
  try {
    parseKeys(json)
    return true
  } catch {
    return false
  }
}

// Ajv would take Infinity for an integer within any bounds.
function endlessFaults (env: Env) {
  return Object.entries(EnvSchema.properties)
    .filter(([name, { type }]) => type === 'integer' && Math.abs(Number(env[name])) === Infinity)
    .map(([name]) => `${name} must be a finite number`)
}

function listFaults (env: Env) {
  const faults = []
  if (!listOf(env.ALLOWED_ORIGINS).every(isOrigin)) faults.push('ALLOWED_ORIGINS takes exact origins: scheme, host and port, nothing after them')
  if (!listOf(env.TRUSTED_PROXIES).every(isNetwork)) faults.push('TRUSTED_PROXIES takes addresses and CIDRs')
  if (!listOf(env.REDIS_CLUSTER_NODES).every((node) => isRedisNode(node, /^\/?$/))) faults.push('REDIS_CLUSTER_NODES takes host:port, or rediss://user:password@host:port')
  if (env.REDIS_URL && !isRedisNode(env.REDIS_URL, /^(\/\d*)?$/)) faults.push('REDIS_URL is no URL with a host, and the number of a database after it or nothing')
  if (env.OTEL_EXPORTER_OTLP_ENDPOINT && !URL.canParse(env.OTEL_EXPORTER_OTLP_ENDPOINT)) faults.push('OTEL_EXPORTER_OTLP_ENDPOINT is no URL with a host')
  if (env.ALERT_WEBHOOK_URL && !isFetchable(env.ALERT_WEBHOOK_URL)) faults.push('ALERT_WEBHOOK_URL is no URL with a host, and without a user and a password')
  return faults
}

const listOf = (list: string | undefined) => list?.split(',') ?? []

// As a browser sends it: the default port left out; `*` and `null` are nobody's.
function isOrigin (text: string) {
  const { protocol = '', host = '' } = URL.parse(text) ?? {}
  return host !== '' && !host.includes('*') && `${protocol}//${host}` === text
}

function isRedisNode (node: string, path: RegExp) {
  const { protocol = '', hostname = '', pathname = '', username = '', password = '' } = URL.parse(node.includes('://') ? node : `redis://${node}`) ?? {}
  return ['redis:', 'rediss:'].includes(protocol) && hostname !== '' && path.test(pathname) && isEncoded(username + password)
}

function isEncoded (text: string) {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

// What fetch() refuses, with an error that quotes it.
function isFetchable (text: string) {
  const url = URL.parse(text)
  return url !== null && url.username === '' && url.password === ''
}

// Neither a number of hops nor a name like `loopback`, which Fastify would take: what is trusted is spelled out.
function isNetwork (text: string) {
  const [, address = '', bits = '1'] = /^([^/%]+)(?:\/(\d+))?$/.exec(text) ?? []
  return isIP(address) > 0 && Number(bits) > 0 && Number(bits) <= (isIP(address) === 4 ? 32 : 128)
}

function contradictions (env: Env) {
  const valueOf = (name: keyof Config) => Number(env[name] ?? EnvSchema.properties[name].default)
  const faults = []
  if (valueOf('SHUTDOWN_DELAY') + valueOf('REQUEST_TIMEOUT') >= valueOf('SHUTDOWN_TIMEOUT')) faults.push('SHUTDOWN_DELAY + REQUEST_TIMEOUT must be less than SHUTDOWN_TIMEOUT')
  if (valueOf('REFRESH_IDLE_TTL') > valueOf('REFRESH_ABSOLUTE_TTL')) faults.push('REFRESH_IDLE_TTL must not exceed REFRESH_ABSOLUTE_TTL')
  if (valueOf('ARGON2_MEMORY') < 8 * valueOf('ARGON2_PARALLELISM')) faults.push('ARGON2_MEMORY must be 8 x ARGON2_PARALLELISM or more')
  if (env.REDIS_URL && env.REDIS_CLUSTER_NODES) faults.push('REDIS_URL and REDIS_CLUSTER_NODES are both set')
  return faults
}

import { readFileSync } from 'node:fs'

type Env = Record<string, string | undefined>

const SECRET_BYTES = 32
const OPS_TOKEN_CHARACTERS = 32
const PLACEHOLDER = /change.?me|replace.?me|placeholder|example|your.?(secret|key|token|password)|default|secret|password|passw0rd|dummy|insecure|x{6,}|0{8,}|1234567|abcdef/i
const MANY_DIFFERENT_CHARACTERS = 10

/** What no schema can say: secrets that are missing, weak or placeholders, and settings that contradict each other. */
export function faultsOf (env: Env): string[] {
  return [
    ...secretFaults(env),
    ...(env.NODE_ENV === 'production' ? productionFaults(env) : []),
    ...keyFaults(env),
    ...contradictions(env)
  ]
}

function secretFaults (env: Env) {
  return (env.REFRESH_TOKEN_SECRET?.split(',') ?? [])
    .some((secret) => Buffer.byteLength(secret) < SECRET_BYTES)
    ? [`REFRESH_TOKEN_SECRET needs ${SECRET_BYTES} bytes or more in each of its secrets`]
    : []
}

function productionFaults (env: Env) {
  const faults = ['DATABASE_URL', 'REFRESH_TOKEN_SECRET', 'OPS_TOKEN']
    .filter((name) => !env[name])
    .map((name) => `${name} is required in production`)
  if (!env.JWT_KEYS && !env.JWT_KEYS_FILE) faults.push('JWT_KEYS or JWT_KEYS_FILE is required in production')
  if (env.OPS_TOKEN && env.OPS_TOKEN.length < OPS_TOKEN_CHARACTERS) faults.push(`OPS_TOKEN needs ${OPS_TOKEN_CHARACTERS} characters or more`)
  for (const secret of env.REFRESH_TOKEN_SECRET?.split(',') ?? []) {
    if (isGuessable(secret)) faults.push('REFRESH_TOKEN_SECRET looks like a placeholder: take 32 random bytes, for example `openssl rand -base64 48`')
  }
  if (env.OPS_TOKEN && isGuessable(env.OPS_TOKEN)) faults.push('OPS_TOKEN looks like a placeholder: take random characters, for example `openssl rand -base64 48`')
  if (env.DATABASE_URL && isPlaceholderUrl(env.DATABASE_URL)) faults.push('DATABASE_URL has a placeholder as its password')
  return faults
}

function isGuessable (secret: string) {
  return PLACEHOLDER.test(secret) || new Set(secret).size < MANY_DIFFERENT_CHARACTERS
}

function isPlaceholderUrl (url: string) {
  const password = URL.parse(url)?.password
  return password !== undefined && PLACEHOLDER.test(password)
}

function keyFaults ({ JWT_KEYS: inline, JWT_KEYS_FILE: file }: Env) {
  if (inline && file) return ['JWT_KEYS and JWT_KEYS_FILE are both set']
  if (inline) return isKeySet(inline) ? [] : ['JWT_KEYS is not a JWKS of Ed25519 private keys']
  if (!file) return []
  try {
    return isKeySet(readFileSync(file, 'utf8')) ? [] : ['JWT_KEYS_FILE holds no JWKS of Ed25519 private keys']
  } catch {
    return ['JWT_KEYS_FILE cannot be read']
  }
}

function isKeySet (json: string) {
  try {
    const { keys } = JSON.parse(json)
    return keys.length > 0 && keys.every((key: Record<string, unknown>) =>
      key.kty === 'OKP' && key.crv === 'Ed25519' && [key.d, key.x].every((part) => /^[\w-]{43}$/.test(String(part))))
  } catch {
    return false
  }
}

function contradictions (env: Env) {
  const [delay, request, stop] = [
    Number(env.SHUTDOWN_DELAY ?? 5000), Number(env.REQUEST_TIMEOUT ?? 12_000), Number(env.SHUTDOWN_TIMEOUT ?? 20_000)
  ]
  const faults = []
  if (delay + request >= stop) faults.push('SHUTDOWN_DELAY + REQUEST_TIMEOUT must be less than SHUTDOWN_TIMEOUT')
  if (Number(env.REFRESH_IDLE_TTL ?? 604_800) > Number(env.REFRESH_ABSOLUTE_TTL ?? 2_592_000)) faults.push('REFRESH_IDLE_TTL must not exceed REFRESH_ABSOLUTE_TTL')
  if (env.REDIS_URL && env.REDIS_CLUSTER_NODES) faults.push('REDIS_URL and REDIS_CLUSTER_NODES are both set')
  return faults
}

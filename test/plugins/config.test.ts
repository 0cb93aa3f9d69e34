import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { homedir, availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import Fastify from 'fastify'
import { test } from 'tap'
import plugin, { ConfigFault, EnvSchema, loadConfig, SECRETS } from '../../plugins/config/index.ts'
import { stateFolder } from '../../plugins/config/state-folder.ts'

type Env = Record<string, string | undefined>

const random = (bytes = 48) => randomBytes(bytes).toString('base64url')
const newKey = () => generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
const jwks = (...keys: object[]) => JSON.stringify({ keys })
const made = { JWT_KEYS: jwks(newKey()), REFRESH_TOKEN_SECRET: random() }
const production: Env = {
  ...made,
  NODE_ENV: 'production',
  DATABASE_URL: `postgres://app:${random()}@db.internal/app`,
  JWT_ISSUER: 'https://id.example.org',
  OPS_TOKEN: random()
}

function faultsOf (env: Env, folder?: string): string[] {
  try {
    return loadConfig(env, folder) && []
  } catch (error) {
    if (error instanceof ConfigFault) return error.faults
    throw error
  }
}

const onlyFaultOf = (env: Env, folder?: string) => faultsOf(env, folder).join(' AND ')

test('each environment has its defaults', async (t) => {
  t.match(loadConfig(made), { NODE_ENV: 'development', HOST: '127.0.0.1', PORT: 3000, MIGRATE_ON_START: true, SHUTDOWN_DELAY: 0, JWT_ISSUER: 'http://localhost:3000' })
  t.match(loadConfig(made), { DATABASE_URL: undefined, HASH_CONCURRENCY: availableParallelism(), PASSWORD_MIN_LENGTH: 8, ACCESS_TOKEN_TTL: 900 })
  t.match(loadConfig(production), { HOST: '0.0.0.0', PORT: 3000, MIGRATE_ON_START: false, SHUTDOWN_DELAY: 5000, JWT_ISSUER: production.JWT_ISSUER })
  t.equal(loadConfig({ ...made, PORT: '4000' }).JWT_ISSUER, 'http://localhost:4000')
  t.match(loadConfig({ ...production, HOST: '::1', MIGRATE_ON_START: 'true', SHUTDOWN_DELAY: '1' }), { HOST: '::1', MIGRATE_ON_START: true, SHUTDOWN_DELAY: 1 })
})

test('nothing changes the settings afterwards, and nothing else is among them', async (t) => {
  const config = loadConfig({ ...made, ALLOWED_ORIGINS: 'https://a.example', UNHEARD_OF: 'x' })
  t.notOk('UNHEARD_OF' in config)
  t.throws(() => Object.assign(config, { PORT: 1 }), TypeError)
  t.throws(() => config.ALLOWED_ORIGINS.push('https://b.example'), TypeError)
})

test('a blank is as good as nothing, in a list too', async (t) => {
  const blank = Object.fromEntries(Object.keys(EnvSchema.properties).map((name) => [name, ' ']))
  t.same(loadConfig({ ...blank, ...made }), loadConfig(made))
  const { ALLOWED_ORIGINS, REFRESH_TOKEN_SECRET, TRUSTED_PROXIES } = loadConfig({ ...made, ALLOWED_ORIGINS: ' https://a.example , https://b.example,', TRUSTED_PROXIES: ',', REFRESH_TOKEN_SECRET: `${made.REFRESH_TOKEN_SECRET}, ${production.OPS_TOKEN} ` })
  t.same(ALLOWED_ORIGINS, ['https://a.example', 'https://b.example'])
  t.same(TRUSTED_PROXIES, [])
  t.same(REFRESH_TOKEN_SECRET, [made.REFRESH_TOKEN_SECRET, production.OPS_TOKEN])
})

test('every fault is named at once, and no value', async (t) => {
  const env = Object.fromEntries(Object.keys(EnvSchema.properties).map((name) => [name, 'canary']))
  const files = Object.fromEntries(SECRETS.map((name) => [`${name}_FILE`, '/nowhere/canary']))
  const error = t.throws(() => loadConfig({ ...env, ...files, NODE_ENV: 'production' })) as ConfigFault

  const free = ['NODE_ENV', 'HOST', 'JWT_ISSUER', 'JWT_AUDIENCE', 'REDIS_CLUSTER_NODES', 'OTEL_SERVICE_NAME']
  for (const name of Object.keys(env).filter((name) => !free.includes(name))) t.match(error.message, new RegExp(`- .*\\b${name}\\b`), name)
  t.notMatch(error, { message: /canary/ })
  t.ok(error.faults.every((fault) => error.message.includes(`\n  - ${fault}`)))
  t.same(faultsOf({ ...made, NODE_ENV: 'canary' }), ['NODE_ENV must be equal to one of the allowed values'])
})

test('production gives no secret a default', async (t) => {
  t.same(faultsOf(production), [])
  t.same(faultsOf({ NODE_ENV: 'production' }, '/nowhere').sort(), [
    'DATABASE_URL is required in production', 'JWT_ISSUER is required', 'JWT_KEYS or JWT_KEYS_FILE is required in production',
    'OPS_TOKEN is required in production', 'REFRESH_TOKEN_SECRET is required in production'
  ])
})

test('production takes no weak secret', async (t) => {
  const placeholder = 'your-secret-key-please-change-me-in-production'
  const table: [name: string, value: string, fault: RegExp][] = [
    ['REFRESH_TOKEN_SECRET', placeholder, /looks like a placeholder/],
    ['REFRESH_TOKEN_SECRET', `${random()},${placeholder},${placeholder}`, /looks like a placeholder/],
    ['REFRESH_TOKEN_SECRET', 'abababababababababababababababababab', /looks like a placeholder/],
    ['REFRESH_TOKEN_SECRET', random(23), /needs 32 bytes or more/],
    ['REFRESH_TOKEN_SECRET', `${random()},${random(23)}`, /needs 32 bytes or more/],
    ['OPS_TOKEN', placeholder, /looks like a placeholder/],
    ['OPS_TOKEN', random(23), /needs 32 characters or more/],
    ['OPS_TOKEN', `${random()}\n${random()}`, /takes one line of ASCII/],
    ['OPS_TOKEN', `${random()}\u00fc`, /takes one line of ASCII/],
    ['DATABASE_URL', 'postgres://app:changeme@db/app', /has a placeholder as its password/],
    ['DATABASE_URL', 'postgres://app:Replace-Me@db/app', /has a placeholder as its password/],
    ['DATABASE_URL', 'postgres://app@db/app?password=changeme', /has a placeholder as its password/],
    ['REDIS_URL', 'redis://:changeme@redis', /has a placeholder as its password/],
    ['REDIS_CLUSTER_NODES', 'redis://:changeme@a:1,b:2', /has a placeholder as its password/],
    ['ARGON2_MEMORY', '19455', /must be 19456 or more/],
    ['ARGON2_TIME', '1', /must be 2 or more/]
  ]
  for (const [name, value, fault] of table) {
    t.match(onlyFaultOf({ ...production, [name]: value }), new RegExp(`^${name} ${fault.source}`))
  }
  for (const DATABASE_URL of ['postgres://app@db/app', 'postgres://app@/app?host=/run/postgresql']) t.same(faultsOf({ ...production, DATABASE_URL }), [], 'without a password')
})

test('a database is what pg can read, with the files that it names', async (t) => {
  const file = join(t.testdir({ certificate: '' }), 'certificate')
  const good = ['', 'u@[::1]:1/app', 'u@/app?host=/run/postgresql', 'u@%2Frun%2Fpostgresql/app', `u:${random()}%2F%23%40%25@db:1/app`, `u@db/app?sslrootcert=${file}`]
  for (const rest of good) t.same(faultsOf({ ...production, DATABASE_URL: `postgres://${rest}` }), [], rest)
  const bad = ['/#@db/app', '?@db/app', '%e4@db/app', '@db:99999/app', '@a:1,b:2/app', '@db/app?sslnegotiation=none', ...['rootcert', 'cert', 'key'].map((name) => `@db/app?ssl${name}=${file}.gone`)]
  for (const rest of bad) {
    const url = `postgres://u:${random()}${rest}`
    const fault = 'DATABASE_URL cannot be read: it takes one host, a password with / ? # @ and % escaped, and files that are there'
    t.equal(onlyFaultOf({ ...production, DATABASE_URL: url }), fault, rest)
    t.equal(onlyFaultOf({ ...production, DATABASE_URL: undefined, DATABASE_URL_FILE: join(t.testdir({ certificate: '', url }), 'url') }), fault, rest)
  }
})

test('keys are Ed25519 pairs, or the start ends', async (t) => {
  const [key, other] = [newKey(), newKey()]
  const { JWT_KEYS, ...rest } = production
  const broken = [
    'not json', '{}', jwks(), jwks({}), jwks({ ...key, d: undefined }), jwks({ ...key, x: undefined }), jwks({ ...key, kty: 'EC' }), jwks({ ...key, crv: 'X25519' }),
    jwks({ ...key, x: other.x }), jwks({ ...key, d: 'AAAA' }), jwks(key, {}), jwks({ ...key, nbf: 4e9 }), jwks(key, { ...other, nbf: '0' }), jwks({ ...key, d: '' }), jwks({ kty: 'oct', k: random(8) }), jwks({ kty: 'oct', k: random() }),
    jwks(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ format: 'jwk' })), jwks(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })),
    jwks(generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' }))
  ]
  for (const json of broken) {
    t.same(faultsOf({ ...rest, JWT_KEYS: json }), ['JWT_KEYS is not a JWKS of Ed25519 private keys, one of which may sign'], json.slice(0, 40))
    t.same(faultsOf({ ...rest, JWT_KEYS_FILE: join(t.testdir({ keys: json }), 'keys') }), ['JWT_KEYS_FILE holds no JWKS of Ed25519 private keys, one of which may sign'])
  }
  const file = join(t.testdir({ keys: jwks(key, other) }), 'keys')
  t.equal(loadConfig({ ...rest, JWT_KEYS_FILE: file }).JWT_KEYS_FILE, file)
  t.same(faultsOf({ ...production, JWT_KEYS_FILE: file }), ['JWT_KEYS and JWT_KEYS_FILE are both set'])
  t.same(faultsOf({ ...rest, JWT_KEYS_FILE: `${file}.gone` }), ['JWT_KEYS_FILE cannot be read'])
})

test('each secret may come from a file', async (t) => {
  const values: Env = { ...production, REDIS_URL: `rediss://:${random()}@redis`, ALERT_WEBHOOK_URL: `https://hooks.example/${random()}` }
  for (const name of SECRETS.filter((name) => name !== 'REDIS_CLUSTER_NODES')) {
    const { [name]: value = '', ...rest } = values
    const file = join(t.testdir({ secret: `${value}\n` }), 'secret')
    t.same(loadConfig({ ...rest, [`${name}_FILE`]: file }), loadConfig(values), name)
    t.same(faultsOf({ ...values, [`${name}_FILE`]: file }), [`${name} and ${name}_FILE are both set`])
    t.match(faultsOf({ ...rest, [`${name}_FILE`]: `${file}.gone` }), [`${name}_FILE cannot be read`])
  }
  const folder = t.testdir({ blank: ' \n', nodes: `rediss://:${random()}@a:1,b:2\n` })
  t.equal(loadConfig({ ...production, REDIS_CLUSTER_NODES_FILE: join(folder, 'nodes') }).REDIS_CLUSTER_NODES.length, 2)
  const blank = join(folder, 'blank')
  t.same(faultsOf({ ...production, OPS_TOKEN: '', OPS_TOKEN_FILE: blank }), ['OPS_TOKEN is required in production'])
  const { REFRESH_TOKEN_SECRET: [secret = ''] } = loadConfig({ REFRESH_TOKEN_SECRET_FILE: blank }, folder)
  t.ok(secret.length >= 32, 'a blank file signs nothing')
})

test('nothing is waited for without an end', async (t) => {
  for (const name of ['REQUEST_TIMEOUT', 'DB_CONNECT_TIMEOUT', 'DB_QUERY_TIMEOUT', 'REDIS_COMMAND_TIMEOUT', 'MAX_EVENT_LOOP_DELAY', 'SHUTDOWN_TIMEOUT', 'DB_POOL_SIZE']) {
    for (const value of ['0', '-1']) t.match(faultsOf({ ...made, [name]: value }).filter((fault) => fault.startsWith(name)), [`${name} must be >= 1`], `${name}=${value}`)
    for (const value of ['Infinity', '-Infinity', '1e999']) t.match(faultsOf({ ...made, [name]: value }).join(), `${name} must be a finite number`, `${name}=${value}`)
    for (const value of ['1s', 'none', '0.5']) t.match(faultsOf({ ...made, [name]: value }).join(), new RegExp(`\\b${name} must be integer`), `${name}=${value}`)
  }
  for (const name of ['REQUEST_TIMEOUT', 'DB_QUERY_TIMEOUT']) t.match(faultsOf({ ...made, [name]: '600001' }).join(), new RegExp(`\\b${name} must be <= 600000`))
})

test('settings that contradict each other end the start', async (t) => {
  const table: [env: Env, fault: RegExp][] = [
    [{ SHUTDOWN_DELAY: '8000' }, /^SHUTDOWN_DELAY \+ REQUEST_TIMEOUT must be less than SHUTDOWN_TIMEOUT$/],
    [{ SHUTDOWN_DELAY: '7999' }, /^$/],
    [{ REQUEST_TIMEOUT: '15000' }, /^SHUTDOWN_DELAY \+ REQUEST_TIMEOUT must be less than SHUTDOWN_TIMEOUT$/],
    [{ SHUTDOWN_TIMEOUT: '17000' }, /^SHUTDOWN_DELAY \+ REQUEST_TIMEOUT must be less than SHUTDOWN_TIMEOUT$/],
    [{ REFRESH_IDLE_TTL: '86401', REFRESH_ABSOLUTE_TTL: '86400' }, /^REFRESH_IDLE_TTL must not exceed REFRESH_ABSOLUTE_TTL$/],
    [{ REFRESH_ABSOLUTE_TTL: '86400' }, /^REFRESH_IDLE_TTL must not exceed REFRESH_ABSOLUTE_TTL$/],
    [{ ARGON2_PARALLELISM: '64', ARGON2_MEMORY: '511', NODE_ENV: 'test' }, /^ARGON2_MEMORY must be 8 x ARGON2_PARALLELISM or more$/],
    [{ REDIS_URL: 'redis://a', REDIS_CLUSTER_NODES: 'a:1,b:2' }, /^REDIS_URL and REDIS_CLUSTER_NODES are both set$/]
  ]
  for (const [env, fault] of table) t.match(onlyFaultOf({ ...production, ...env }), fault, JSON.stringify(env))
})

test('origins are exact, and proxies are networks', async (t) => {
  for (const origin of ['https://a.example', 'http://localhost:5173', 'http://[::1]:8080', 'capacitor://localhost']) t.same(faultsOf({ ...made, ALLOWED_ORIGINS: origin }), [], origin)
  for (const origin of ['*', 'null', 'a.example', 'https://a.example/', 'https://a.example:443', 'https://A.example', 'https://*.example', 'https://a.example,*', 'https://u@a.example', 'file://']) {
    t.match(onlyFaultOf({ ...made, ALLOWED_ORIGINS: origin }), /^ALLOWED_ORIGINS takes exact origins: scheme, host and port, nothing after them$/, origin)
  }
  for (const network of ['10.0.0.0/8', '192.0.2.1', '::1', 'fd00::/8', '10.0.0.0/8, 192.0.2.1']) t.same(faultsOf({ ...made, TRUSTED_PROXIES: network }), [], network)
  for (const network of ['1', 'true', 'loopback', 'proxy.example', '10.0.0.0/33', '0.0.0.0/0', '::/129', '10.0.0.0/8/8', '10.0.0.0/', 'fe80::1%eth0', '10.0.0.0/255.0.0.0']) {
    t.equal(onlyFaultOf({ ...made, TRUSTED_PROXIES: network }), 'TRUSTED_PROXIES takes addresses and CIDRs', network)
  }
})

test('a Redis and a collector are URLs, and the nodes of a cluster are addresses or URLs', async (t) => {
  for (const REDIS_CLUSTER_NODES of ['a:1', 'a:1, b:2', '[::1]:6379', 'redis://a:1', 'rediss://user:p%40ss@a:1,b:2']) t.same(faultsOf({ ...made, REDIS_CLUSTER_NODES }), [])
  for (const REDIS_CLUSTER_NODES of ['http://a:1', 'a:b', ':1', 'a:1,redis://', 'a b:1', 'a:1/0', 'a:1,redis://b:1/2', 'redis://:100%@a:1']) {
    t.equal(onlyFaultOf({ ...made, REDIS_CLUSTER_NODES }), 'REDIS_CLUSTER_NODES takes host:port, or rediss://user:password@host:port', REDIS_CLUSTER_NODES)
  }
  for (const endpoint of ['http://', 'https://a b']) t.equal(onlyFaultOf({ ...made, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }), 'OTEL_EXPORTER_OTLP_ENDPOINT is no URL with a host', endpoint)
  for (const url of ['https://', 'https://a:99999/services', 'https://user@a/', 'https://user:password@a/services', 'https://:password@a/']) {
    t.equal(onlyFaultOf({ ...made, ALERT_WEBHOOK_URL: url }), 'ALERT_WEBHOOK_URL is no URL with a host, and without a user and a password', url)
  }
  for (const REDIS_URL of ['redis://a', 'redis://a/', 'rediss://:p@a:1/15']) t.same(faultsOf({ ...made, REDIS_URL }), [])
  for (const REDIS_URL of ['redis://', 'redis://a:port', 'redis://a b', 'redis://a/name', 'redis://a/0/', 'redis://a/0x1', 'redis://100%@a', 'redis://:%e4@a']) {
    t.equal(onlyFaultOf({ ...made, REDIS_URL }), 'REDIS_URL is no URL with a host, and the number of a database after it or nothing', REDIS_URL)
  }
})

test('the secrets of development are made once and kept', async (t) => {
  const [folder = '', other = ''] = ['state', 'other'].map((name) => join(t.testdir(), name))
  const first = loadConfig({}, folder)
  t.same(loadConfig({}, folder), first)
  t.same(loadConfig({ NODE_ENV: 'test', REFRESH_TOKEN_SECRET: made.REFRESH_TOKEN_SECRET }, folder).REFRESH_TOKEN_SECRET, [made.REFRESH_TOKEN_SECRET])
  t.equal(loadConfig({ JWT_KEYS: made.JWT_KEYS }, folder).JWT_KEYS_FILE, undefined)
  t.not(loadConfig({}, other).REFRESH_TOKEN_SECRET[0], first.REFRESH_TOKEN_SECRET[0])
  t.equal(statSync(loadConfig({}, folder).JWT_KEYS_FILE ?? '').mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'secrets')).mode & 0o777, 0o700)
})

test('where the secrets of development cannot be kept, the start says so', async (t) => {
  const folder = t.testdir({ file: '', links: { secrets: t.fixture('symlink', '/dev/fd') } })
  for (const place of ['file', 'links']) t.match(onlyFaultOf({}, join(folder, place)), /^The secrets of development cannot be kept in the state folder \(E\w+\): set JWT_KEYS and REFRESH_TOKEN_SECRET$/)
  t.same(faultsOf(made, join(folder, 'file')), [])
})

test('each user has a state folder', async (t) => {
  const [xdg, local] = ['/x/microts', join(homedir(), '.local/state/microts')]
  t.equal(stateFolder({ XDG_STATE_HOME: '/x' }, 0), '/var/lib/microts')
  t.same([{ XDG_STATE_HOME: '/x' }, { XDG_STATE_HOME: 'relative' }, {}].map((env) => stateFolder(env, 1000, 'linux')), [xdg, local, local])
  t.equal(stateFolder({}, 1000, 'darwin'), join(homedir(), 'Library/Application Support/microts'))
  t.same([{ LOCALAPPDATA: '/x' }, {}].map((env) => stateFolder(env, 1000, 'win32')), [xdg, join(homedir(), 'microts')])
  t.match(stateFolder({}), /microts$/)
})

test('.env.example lists every setting with its default', async (t) => {
  const file = join(import.meta.dirname, '../../.env.example')
  const text = readFileSync(file, 'utf8')
  const listed = [...text.matchAll(/^# (.+)\n# ([A-Z0-9_]+)=(.*)$/gm)].map(([, description, name, value]) => [name, description, value])
  t.same(listed, Object.entries(EnvSchema.properties).map(([name, schema]) => [name, schema.description, String(schema.default ?? '')]))
  t.same(parseEnv(text), {}, 'a copy sets nothing')
  const env = parseEnv(text.replaceAll(/^# (?=[A-Z0-9_]+=)/gm, ''))
  t.same(loadConfig({ ...env, ...made }), { ...loadConfig(made), SHUTDOWN_DELAY: 5000 })
})

test('the app knows its settings and its version', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const config = loadConfig(made)
  await app.register(plugin, { config })
  t.equal(app.config, config)
  t.match(app.release, /^\d+\.\d+\.\d+$/)
})

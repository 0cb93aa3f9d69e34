import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { Ajv } from 'ajv'
import { test } from 'tap'
import { parse } from 'yaml'
import { loadGiven, newKeys, random, wronglyGiven } from './given.ts'
import { bindsOf, folder, networksOf, reaches, readStack, RELEASE } from './stack.ts'

const cluster = parseEnv(readFileSync(join(folder, 'cluster.env'), 'utf8')) as Record<string, string>
const prod = readStack('prod.yaml', RELEASE)
const dev = readStack('dev.yaml')
const stacks = { prod, dev }
const services = Object.entries(stacks).flatMap(([stack, { services }]) => Object.entries(services).map(([name, service]) => ({ stack, name, service })))

const PINNED = /@sha256:[0-9a-f]{64}$/
const JOBS = ['migrate', 'redis-cluster']
const DATABASES = /^(postgres|redis)/

const contents = {
  database_url: `postgres://microts:${random()}@postgres:5432/microts`,
  redis: `redis://:${random()}@redis:6379`,
  refresh_token_secret: random(),
  ops_token: random(),
  alert_webhook_url: ''
}
const mounted = (files: Record<string, string>) => ({
  ...Object.fromEntries(Object.entries(files).map(([name, text]) => [`/run/secrets/${name}`, `${text}\n`])),
  '/run/keys/jwt-keys.json': newKeys()
})

test('both files are what the compose specification says', (t) => {
  // dclint brings the schema of the specification.
  const file = join(fileURLToPath(import.meta.resolve('dclint/package.json')), '../schemas/compose.schema.json')
  const { $schema, ...schema } = JSON.parse(readFileSync(file, 'utf8'))
  const validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(schema)
  for (const [name, stack] of Object.entries(stacks)) t.ok(validate(stack), name, { errors: validate.errors })
  t.notOk(validate({ services: { microts: { imag: 'x' } } }), 'which the validator knows')
  t.end()
})

test('no container may do more than it needs', (t) => {
  for (const { stack, name, service } of services) {
    t.match(service, { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'], privileged: undefined, cap_add: undefined }, `${name} of ${stack}`)
    t.match(service.deploy.resources.limits, { cpus: /^[\d.]+$/, memory: /^\d+[MG]$/, pids: Number }, `${name} of ${stack} is limited`)
    for (const { source, target, isReadOnly } of bindsOf(service)) t.equal(isReadOnly, source !== '../..', `${name} of ${stack} cannot write ${target}`)
  }
  t.end()
})

test('every image is pinned by its digest, to the same in both files', (t) => {
  for (const { stack, name, service } of services) if (!service.build) t.match(service.image, PINNED, `${name} of ${stack}`)
  for (const [name, { image, build }] of Object.entries(dev.services)) if (!build && name !== 'jaeger') t.equal(image, prod.services[name]?.image, name)
  t.end()
})

test('what serves has a health check and comes back; what has an end does not', (t) => {
  for (const { stack, name, service } of services) {
    if (JOBS.includes(name)) t.match(service, { restart: 'no', healthcheck: { disable: true } }, name)
    else t.match(service.healthcheck.test, ['CMD'], `${name} of ${stack}`)
    if (stack === 'prod' && !JOBS.includes(name)) t.equal(service.restart, 'unless-stopped', name)
  }
  t.end()
})

test('databases are on an inner network alone, and what is published is published to this machine', (t) => {
  const colours = Array.from(readFileSync(join(folder, '../tls/upstream.conf'), 'utf8').matchAll(/server 127\.0\.0\.1:(\d+)/g), ([, port]) => port!)
  t.equal(colours.length, 4)
  for (const { stack, name, service } of services) {
    const isInner = networksOf(service).every((network) => stacks[stack as keyof typeof stacks].networks[network]?.internal)
    if (DATABASES.test(name)) t.ok(isInner, `${name} of ${stack}`)
    for (const port of service.ports ?? []) {
      t.match(port, /^127\.0\.0\.1:/, `${name} of ${stack}`)
      t.notOk(colours.includes(port.split(':')[1]!), `${port} of ${stack} is none that nginx takes for a replica`)
    }
  }
  t.end()
})

test('production has no secret by default, nor a release or an issuer: what is missing is named', (t) => {
  for (const name of Object.keys(RELEASE)) t.throws(() => readStack('prod.yaml', { ...RELEASE, [name]: '' }), { message: RegExp(`^${name}: .`) })
  t.match(readFileSync(join(folder, '../../.gitignore'), 'utf8'), /^\/deploy\/compose\/secrets$/m)
  for (const [name, secret] of Object.entries(prod.secrets)) t.same(secret, { file: `./secrets/${name}`, 'x-podman.relabel': 'z' }, 'SELinux lets containers read it')
  t.same(Object.values(prod.services).flatMap((service) => bindsOf(service)).filter(({ source }) => source.startsWith('./secrets')).map(({ source }) => source), ['./secrets/keys'])
  for (const { name, service } of services) {
    const inOpen = Object.keys(service.environment ?? {}).filter((key) => /PASSWORD|SECRET|TOKEN/.test(key) && !/_FILE$/.test(key))
    t.same(inOpen, [], name)
  }
  t.end()
})

test('the service starts with the settings that production gives it, with one Redis and with a cluster', (t) => {
  const { environment = {}, networks, deploy, stop_grace_period: grace, secrets } = prod.services.microts!
  t.same(wronglyGiven(environment), [])
  t.same([...secrets!].sort(), Object.keys(contents).sort())
  const config = loadGiven(t, environment, mounted(contents))
  t.match(config, { NODE_ENV: 'production', HOST: '0.0.0.0', PORT: 3000, MIGRATE_ON_START: false, DATABASE_URL: contents.database_url, REDIS_URL: contents.redis, ALERT_WEBHOOK_URL: undefined, OTEL_EXPORTER_OTLP_ENDPOINT: undefined, ALLOWED_ORIGINS: [] })
  t.equal(config.HASH_CONCURRENCY, Number(deploy.resources.limits.cpus))
  t.ok(parseInt(grace!) * 1000 > config.SHUTDOWN_TIMEOUT, 'it may finish what it does')
  const { data, ...open } = networks as Record<string, { ipv4_address?: string }>
  t.same(Object.keys(open), ['outside'])
  t.same(config.TRUSTED_PROXIES, [...prod.networks.outside!.ipam!.config.map(({ subnet }) => subnet), `${data!.ipv4_address}/32`], 'with rootless podman the published port comes from the container itself')

  const nodes = Object.entries(prod.services).filter(([name]) => /^redis(-\d)?$/.test(name)).map(([, { networks }]) => `${(networks as Record<string, { ipv4_address: string }>).data!.ipv4_address}:6379`)
  const { microts, ...others } = readStack('prod.yaml', { ...RELEASE, ...cluster }).services
  const clustered = loadGiven(t, microts!.environment!, mounted({ ...contents, redis: nodes.join() }))
  t.match(clustered, { REDIS_URL: undefined, REDIS_CLUSTER_NODES: nodes })
  t.match(others.redis!.command!.join(' '), '--cluster-enabled yes')
  t.match(others['redis-cluster']!.command!.join(' '), `create ${nodes.join(' ')} --cluster-replicas 1`)
  t.match(prod.services.redis!.command!.join(' '), '--cluster-enabled no')
  t.end()
})

test('it also starts with what development gives it', (t) => {
  const { environment = {} } = dev.services.microts!
  t.same(wronglyGiven(environment), ['DATABASE_URL', 'REDIS_URL'], 'no password is in them')
  const token = readFileSync(join(folder, dev.secrets.ops_token!.file), 'utf8')
  const config = loadGiven(t, environment, mounted({ ops_token: token }))
  t.match(config, { NODE_ENV: 'development', HOST: '0.0.0.0', MIGRATE_ON_START: true, OPS_TOKEN: token, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://jaeger:4318' })
  t.throws(() => loadGiven(t, prod.services.microts!.environment!, mounted({ ...contents, ops_token: token })), { message: /- OPS_TOKEN needs 32 characters or more$/ }, 'whose token production refuses')
  t.end()
})

test('the database is migrated, by the same release, before the service starts', (t) => {
  const { microts, migrate } = prod.services
  t.equal(migrate!.image, microts!.image)
  t.same(migrate!.command, ['deploy/migrate.ts', 'up'])
  t.same(migrate!.secrets, ['database_url'])
  t.equal(migrate!.environment!.DATABASE_URL_FILE, microts!.environment!.DATABASE_URL_FILE)
  t.equal(migrate!.depends_on!.postgres!.condition, 'service_healthy')
  t.equal(microts!.depends_on!.migrate!.condition, 'service_completed_successfully')
  t.end()
})

test('what is mounted is in the repository, and what is scraped and told is in the stack', (t) => {
  for (const { stack, name, service } of services) {
    for (const { source } of bindsOf(service)) if (!source.startsWith('./secrets')) t.ok(existsSync(join(folder, source)), `${source} for ${name} of ${stack}`)
  }
  const read = (file: string) => parse(readFileSync(join(folder, '..', file), 'utf8'))
  const { scrape_configs: [{ static_configs: scraped }], alerting: { alertmanagers: [{ static_configs: alerted }] } } = read('prometheus/prometheus.yml')
  const { receivers: [{ webhook_configs: [{ url }] }] } = read('alertmanager/alertmanager.yml')
  const targets = [...scraped, ...alerted].flatMap(({ targets }: { targets: string[] }) => targets)
  for (const { services } of Object.values(stacks)) {
    for (const target of targets) t.ok(reaches(services.prometheus!, services[target.split(':')[0]!]!), target)
    t.ok(reaches(services.alertmanager!, services[new URL(url).hostname]!), url)
  }
  t.end()
})

import { appendFile, cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { t as suite, test } from 'tap'
import { eventually } from '../eventually.ts'
import { databaseUrl, emptyDatabase, PASSWORD } from '../helper.ts'
import { freePort } from '../port.ts'
import { startRedis } from '../redis.ts'
import { ask } from './http.ts'
import { flags, openImage, packages, ROOT, UID } from './image.ts'
import manifest from '../../package.json' with { type: 'json' }

const EMAIL = 'grace@example.com'
const LARGEST_BYTES = 200e6
const STOP_MS = 20_000
const OLD_CPU = 'processor\t: 0\nflags\t\t: fpu cx8 cmov mmx fxsr sse sse2 syscall cx16 lahf_lm\n'

const image = await openImage()
suite.teardown(() => image.close())
const { base, folder, podman, secrets } = image

test('the image holds what runs, and nothing else', async (t) => {
  const files = await image.files()
  const ofOurs = files.filter((file) => file.startsWith('app/') && !file.startsWith('app/node_modules/'))
  const allowed = /^app\/((app|server|tracing)\.ts|(plugins|routes|schemas|migrations)\/.*|deploy\/[\w-]+\.ts|package\.json|sbom\.spdx\.json|LICENSE|deploy\/|\.compiled\/.*)?$/
  t.same(ofOurs.filter((file) => !allowed.test(file)), [])
  t.same(files.filter((file) => /^app\/deploy\/./.test(file)).sort(), ['command', 'healthcheck', 'keys', 'locked-file', 'migrate', 'terminal', 'users'].map((name) => `app/deploy/${name}.ts`), 'the commands of operators')
  t.same(files.filter((file) => /(^|\/)(\.git|\.env|\.npmrc|test|tests)(\/|$)|\.map$|\.d\.ts$/.test(file)), [], 'no tests, no history, no settings, no source maps')
  t.same(files.filter((file) => /(^|\/)(sh|bash|dash|busybox|npm|npx|apt|apt-get|curl|perl|python3?)$/.test(file)), [], 'no shell, no package manager')
  t.same(files.filter((file) => /^((usr|opt)\/.*)?s?bin\/./.test(file)), ['usr/local/bin/node'], 'one program')

  const installed = new Set(files.filter((file) => /node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(file)).map((file) => file.slice('app/'.length, -'/package.json'.length)))
  const { wanted, unwanted } = packages()
  t.same(unwanted.filter((path) => installed.has(path)), [], 'nothing for developers, no binaries for npm start')
  t.same(wanted.filter((path) => !installed.has(path)), ['node_modules/node-addon-api'], 'which only compiled argon2')
})

test('it says what it is', async (t) => {
  const { Labels: labels, Env: env, ...settings } = await image.inspect('.Config')
  t.match(settings, { User: '1000:1000', Entrypoint: ['node'], Cmd: ['server.ts'], WorkingDir: '/app' })
  t.match(env, ['PATH=/usr/local/bin', 'NODE_ENV=production'])
  t.match(await image.node('-p', 'require("node:module").getCompileCacheDir()'), /^\/app\/.compiled\//, 'it need not compile what it was made with')
  t.match(await image.inspect('.HealthCheck'), { Test: ['CMD', 'node', 'deploy/healthcheck.ts'] })
  t.match(labels, { 'org.opencontainers.image.title': 'microts', 'org.opencontainers.image.version': '1.2.3', 'org.opencontainers.image.licenses': manifest.license, 'org.opencontainers.image.base.name': base })
  const size = await image.inspect('.Size')
  t.ok(size < LARGEST_BYTES)
  t.comment(`bytes: ${size}, of which Node.js: ${await image.node('-p', 'fs.statSync(process.execPath).size')}`)

  const sbom = JSON.parse(await image.node('-p', 'fs.readFileSync("sbom.spdx.json", "utf8")'))
  const listed = new Set(sbom.packages.map(({ name, versionInfo }: Record<string, string>) => `${name}@${versionInfo}`))
  t.same(listed, new Set([`microts@${manifest.version}`, ...packages().names]), 'its bill of materials is what was installed')
})

test('all that it depends on can be loaded', async (t) => {
  const script = 'for (const name of Object.keys(JSON.parse(fs.readFileSync("package.json")).dependencies)) await import(name); console.log("loaded")'
  t.equal(await image.node('--input-type=module', '--eval', `import fs from 'node:fs'; ${script}`), 'loaded')
})

test('read-only, unprivileged and with little memory it is migrated, serves, is looked after, and ends when told', async (t) => {
  const redis = await startRedis(t)
  await writeFile(join(secrets, 'redis-url'), redis.url)
  await emptyDatabase()
  const port = await freePort()

  t.match(await image.operate('deploy/keys.ts', 'generate'), / signs at once$/)
  t.match(await image.operate('deploy/migrate.ts', 'status'), /^pending /)
  const container = await image.serve(t, { PORT: String(port) })
  await eventually(async () => (await ask(port, '/health')).status === 200, 30_000)
  t.match(await ask(port, '/ready'), { status: 503, body: { ready: false } }, 'before a job has migrated')
  t.match(await image.operate('deploy/migrate.ts', 'up'), /^up {2}001_/)
  await eventually(async () => (await ask(port, '/ready')).status === 200, 30_000)

  t.equal((await ask(port, '/auth/register', { body: { email: EMAIL, password: PASSWORD } })).status, 201)
  const login = await ask(port, '/auth/login', { body: { email: EMAIL, password: PASSWORD } })
  t.equal(login.status, 200)
  t.match(await ask(port, '/me', { token: login.body.accessToken }), { status: 200, body: { user: { email: EMAIL } } })
  t.match(await ask(port, '/status'), { status: 200, body: { hashing: { build: 'native' } } })
  t.equal((await ask(port, '/docs/static/swagger-ui-bundle.js')).status, 200)
  t.equal((await ask(port, '/metrics')).status, 401)
  const metrics = await ask(port, '/metrics', { token: await readFile(join(secrets, 'ops-token'), 'utf8') })
  t.match(metrics.body.text, /^microts_build_info\{.*argon2="native"\} 1$/m)

  t.match(await image.operate('deploy/users.ts', 'show', EMAIL), RegExp(`^id .+\nemail +${EMAIL}$`, 'm'))
  t.match(await image.operate('deploy/users.ts', 'disable', EMAIL), /is disabled/)
  await eventually(async () => (await ask(port, '/me', { token: login.body.accessToken })).status === 401, 1000)

  t.equal((await podman.attempt('healthcheck', 'run', container)).code, 0)
  t.match(await podman.run('exec', container, 'node', 'deploy/healthcheck.ts'), '/health answers 200')
  t.match(await podman.run('exec', container, 'node', '-p', 'process.getuid()'), String(UID))
  t.comment(`memory: ${await podman.run('stats', '--no-stream', '--format={{.MemUsage}}', container)}`)

  const startedAt = performance.now()
  await podman.run('kill', '--signal=TERM', container)
  t.equal(await podman.run('wait', container), '0')
  const stopMs = performance.now() - startedAt
  t.ok(stopMs < STOP_MS, `ends within ${Math.round(stopMs)} ms`)
  t.same(await image.writtenBy(container), [], 'nothing is written to its file system')
  const logs = await podman.run('logs', container)
  for (const name of ['ops-token', 'refresh-token-secret', 'database-url']) t.notOk(logs.includes(await readFile(join(secrets, name), 'utf8')), name)
})

test('a start that cannot work ends at once with a list', async (t) => {
  const { code, stderr } = await image.attempt()
  t.equal(code, 1)
  t.match(stderr, /^The settings are not usable:\n( {2}- \w+ .*\n)+$/)
})

test('a CPU that lacks what argon2 was built for is refused by a sentence, not by a signal', async (t) => {
  const cpuinfo = join(folder, 'cpuinfo')
  await writeFile(cpuinfo, OLD_CPU)
  const { code, stderr } = await image.attempt({ PORT: String(await freePort()) }, `--volume=${cpuinfo}:/proc/cpuinfo:ro`)
  t.equal(code, 1)
  t.match(stderr, /^argon2 is built for x86-64-v[23], and this CPU lacks popcnt, .+\n$/)
})

test('the image for developers runs what is mounted, and starts anew when that changes', async (t) => {
  await image.build('--target=dev', '--tag=microts-dev')
  const sources = join(folder, 'sources')
  for (const name of ['app.ts', 'server.ts', 'tracing.ts', 'package.json', 'deploy', 'plugins', 'routes', 'schemas', 'migrations']) await cp(join(ROOT, name), join(sources, name), { recursive: true })
  const port = await freePort()
  const env = flags({ HOST: '127.0.0.1', PORT: String(port), DATABASE_URL: databaseUrl })
  const container = await podman.run('run', '--detach', '--network=host', '--ulimit=nofile=1024:1024', '--ulimit=nproc=1000:1000', `--volume=${sources}:/app`, '--volume=/app/node_modules', ...env, 'microts-dev')
  t.teardown(() => podman.attempt('rm', '--force', '--time=0', container))
  const said = async (text: string) => (await podman.run('logs', container)).includes(text)
  await eventually(() => said('listening on '), 30_000)
  await eventually(async () => (await ask(port, '/ready')).status === 200, 30_000)

  await appendFile(join(sources, 'app.ts'), "\nconsole.log('edited')\n")
  await eventually(() => said('edited'), 30_000)
  await eventually(async () => (await ask(port, '/ready')).status === 200, 30_000)
})

import { spawnSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { eventually } from './eventually.ts'
import { databaseUrl, PASSWORD, settings } from './helper.ts'
import { listening, preload, run, start } from './processes.ts'
import { startProxy } from './proxy.ts'

const SERVER = 'server.ts'
const env = { ...settings, LOG_LEVEL: 'info', PORT: '0' }
test('it listens before its database is there, and is ready soon after it came', async (t) => {
  const proxy = await startProxy(t, databaseUrl, 'refuse')
  const server = start(t, SERVER, [], { ...env, DATABASE_URL: proxy.url })
  const url = await listening(server)
  t.equal((await fetch(`${url}/health`)).status, 200)
  t.equal((await fetch(`${url}/ready`)).status, 503)
  const refused = await register(url)
  t.equal(refused.status, 503)
  t.match(refused.headers.get('content-type'), /^application\/problem\+json/)
  t.equal(refused.headers.get('retry-after'), '1')
  t.match(await refused.json(), { code: 'SERVICE_UNAVAILABLE', status: 503 })
  t.notMatch(server.stdout, 'curl', 'it does not invite anybody yet')

  await proxy.set('pass')
  const tookMs = await eventually(async () => (await fetch(`${url}/ready`)).ok, 5000)
  t.comment(`ready ${tookMs} ms after the database came`)
  t.equal((await register(url)).status, 201)
  t.equal(server.stdout.match(/listening on/g)?.length, 1)
})

test('what only Redis, or a new password, has a use for holds up no other start', async (t) => {
  const server = start(t, SERVER, [], env, preload(`
    import { createRequire } from 'node:module'
    process.on('exit', () => console.log(Object.keys(createRequire('file:///').cache).join(' ')))`))
  await listening(server)
  server.child.kill('SIGTERM')
  const { stdout } = await server.ended
  t.match(stdout, /node_modules.fastify\W/)
  t.notMatch(stdout, /node_modules.(ioredis|@fastify.redis|@zxcvbn-ts)\W/)
})

test('the heap may grow by a third between collections, as soon as all is loaded', async (t) => {
  const { stdout: options } = spawnSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })
  const server = start(t, SERVER, [], env, preload(`
    import v8 from 'node:v8'
    import { syncBuiltinESMExports } from 'node:module'
    v8.setFlagsFromString = console.log
    syncBuiltinESMExports()`))
  await listening(server)
  const [flag, name] = /^(--[\w-]+)=\d+(?=\n.*listening on)/m.exec(server.stdout) ?? []
  t.equal(flag, '--heap-growing-percent=30')
  t.match(options, `${name} (`, 'this Node knows it')
})

test('outside production it says what to try, and that works', async (t) => {
  const server = start(t, SERVER, [], env)
  await listening(server)
  await eventually(() => server.stdout.includes('  try '))
  const [, url = '', docs = '', body = ''] = server.stdout.match(/microts {3}(\S+)\n {2}docs {6}(\S+)\n {2}try {7}curl -s \S+ -H '[^']+' -d '([^']+)'/) ?? []

  t.match(url, /^http:\/\/localhost:\d+$/)
  t.equal((await fetch(docs)).status, 200)
  const response = await fetch(`${url}/auth/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  t.equal(response.status, 201)
})

test('localhost is one address, so that all is served by one server', async (t) => {
  const url = await listening(start(t, SERVER, [], { ...env, HOST: 'localhost' }))
  const { port } = new URL(url)
  t.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200)
  await t.rejects(fetch(`http://[::1]:${port}/health`))
})

test('two that nobody told a port take two', async (t) => {
  const servers = [1, 2].map(() => start(t, SERVER, [], { ...env, PORT: undefined }))
  const urls = await Promise.all(servers.map(listening))
  t.equal(new Set(urls).size, 2)
  for (const url of urls) t.equal((await fetch(`${url}/health`)).status, 200)
})

test('one that was told a port takes that or ends', async (t) => {
  const url = await listening(start(t, SERVER, [], env))
  const { code, stderr } = await run(t, SERVER, [], { ...env, PORT: new URL(url).port })
  t.equal(code, 1)
  t.match(stderr, 'EADDRINUSE')
})

test('production ends within 5 s and names all that is wrong, but no value', async (t) => {
  const startedAt = performance.now()
  const values = { OPS_TOKEN: 'changeme-ops', REFRESH_TOKEN_SECRET: 'changeme-refresh', DB_POOL_SIZE: 'zero-connections' }
  const { code, stdout, stderr } = await run(t, SERVER, [], { NODE_ENV: 'production', ...values })

  t.equal(code, 1)
  t.ok(performance.now() - startedAt < 5000)
  t.equal(stdout, '')
  for (const name of ['DATABASE_URL', 'JWT_KEYS', 'JWT_ISSUER', 'OPS_TOKEN', 'REFRESH_TOKEN_SECRET', 'DB_POOL_SIZE']) t.match(stderr, name)
  for (const value of Object.values(values)) t.notMatch(stderr, value)
  t.notMatch(stderr, / at .*:\d+/, 'no stack')
})

test('production with its settings serves, and invites nobody', async (t) => {
  const secret = () => Buffer.from(crypto.getRandomValues(new Uint8Array(48))).toString('base64')
  const server = start(t, SERVER, [], { ...env, NODE_ENV: 'production', ARGON2_MEMORY: undefined, ARGON2_TIME: undefined, OPS_TOKEN: secret(), REFRESH_TOKEN_SECRET: secret(), SHUTDOWN_DELAY: '0', MIGRATE_ON_START: 'true' })
  const url = await listening(server)
  await eventually(async () => (await fetch(`${url}/ready`)).ok)

  t.match(await (await fetch(`${url}/health`)).json(), { environment: 'production' })
  t.notMatch(server.stdout, 'curl')
  for (const line of server.stdout.trim().split('\n')) t.ok(JSON.parse(line).msg)
})

for (const [value, given, threads] of [['5', ' ', 6], [' ', undefined, availableParallelism() + 1], ['5', '3', 3]] as const) {
  test(`hashes have threads of their own, and one is left for all else, unless it is told how many: HASH_CONCURRENCY="${value}" UV_THREADPOOL_SIZE="${given}"`, async (t) => {
    const server = start(t, SERVER, [], { ...env, HASH_CONCURRENCY: value, UV_THREADPOOL_SIZE: given })
    const url = await listening(server)
    await eventually(async () => (await fetch(`${url}/ready`)).ok)
    await Promise.all(Array.from({ length: 10 }, () => register(url)))
    const tasks = `/proc/${server.child.pid}/task`
    const names = await Promise.all((await readdir(tasks)).map((task) => readFile(join(tasks, task, 'comm'), 'utf8')))

    t.equal(names.filter((name) => name === 'libuv-worker\n').length, threads)
  })
}

const json = (body: object) => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
const register = (url: string, email = 'server@example.com') => fetch(`${url}/auth/register`, json({ email, password: PASSWORD }))

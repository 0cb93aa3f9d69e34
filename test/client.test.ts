import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { eventually } from './eventually.ts'
import { build, PASSWORD } from './helper.ts'

const root = join(import.meta.dirname, '..')
const compile = join(root, 'node_modules/typescript/bin/tsc')
const run = (file: string, ...args: string[]) => execFileSync(process.execPath, [file, ...args], { cwd: root, stdio: 'pipe' })

// Whatever is misspelled must not compile.
const TYPED = `
import { clientOf } from './session.js'
import { getMe, login, updateMe, type Problem, type User } from './microts/index.js'

const client = clientOf('http://localhost:3000', {})
export async function typed (): Promise<User | Problem['code'] | undefined> {
  // @ts-expect-error a login needs a password
  await login({ client, body: { email: 'ada@example.com' } })
  // @ts-expect-error this is no property of a profile
  await updateMe({ client, body: { displayName: null, role: 'admin' } })
  const { data, error } = await getMe({ client })
  // @ts-expect-error a user has no such property
  data?.user.passwordHash
  // @ts-expect-error there is no such code
  if (error?.code === 'NO_SUCH_CODE') return undefined
  return data?.user ?? error?.code
}
`

/** The client as a user of ours has it: generated, with the file of the README beside it, compiled with the strictest settings. */
function generate (folder: string) {
  run(join(root, 'deploy/client.ts'), join(folder, 'src/microts'))
  const [, snippet = ''] = readFileSync(join(root, 'README.md'), 'utf8').match(/```ts\n(.*?)```/s) ?? []
  writeFileSync(join(folder, 'src/session.ts'), snippet)
  writeFileSync(join(folder, 'src/typed.ts'), TYPED)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  const options = { strict: true, skipLibCheck: true, target: 'es2022', module: 'nodenext', lib: ['es2023', 'dom', 'dom.iterable'], types: [], rootDir: 'src', outDir: 'built' }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['src'] }))
  run(compile, '-p', folder)
  return (file: string) => import(join(folder, 'built', file))
}

const folder = mkdtempSync(join(tmpdir(), 'client-'))
const load = generate(folder)

test('a user lives a whole life through the generated client', async (t) => {
  const api = await load('microts/index.js')
  const { clientOf } = await load('session.js')

  const keys = () => JSON.stringify({ keys: [generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })] })
  const [app, later] = await Promise.all([build(t, { JWT_KEYS: keys() }), build(t, { JWT_KEYS: keys() })])
  const [address, laterAddress] = await Promise.all([app.listen({ port: 0 }), later.listen({ port: 0 })])
  const session: { tokens?: { accessToken: string, refreshToken: string } } = {}
  const client = clientOf(address, session)
  const body = { email: 'ada@example.com', password: PASSWORD, displayName: 'Ada' }

  const registered = await api.register({ client, body })
  t.match(registered, { error: undefined, data: { user: { email: body.email, displayName: 'Ada' }, tokenType: 'Bearer' } })
  const taken = await api.register({ client, body })
  t.match(taken, { data: undefined, error: { code: 'EMAIL_TAKEN', status: 409 }, response: { status: 409 } })
  t.match((await api.login({ client, body: { email: body.email, password: 'wrong password' } })).error, { code: 'INVALID_CREDENTIALS' })
  session.tokens = (await api.login({ client, body: { email: body.email, password: PASSWORD } })).data

  const me = await api.getMe({ client })
  t.match(me.data, { user: { id: registered.data.user.id } })
  const etag = me.response.headers.get('etag')
  t.equal((await api.getMe({ client, headers: { 'if-none-match': etag } })).response.status, 304)
  t.match((await api.updateMe({ client, headers: { 'if-match': etag }, body: { displayName: 'Ada Lovelace' } })).data, { user: { displayName: 'Ada Lovelace' } })
  t.match((await api.updateMe({ client, headers: { 'if-match': etag }, body: { displayName: null } })).error, { code: 'PRECONDITION_FAILED' })
  t.match((await api.updateMe({ client, body: { displayName: '' } })).error, { code: 'VALIDATION_ERROR', errors: [{ pointer: '/displayName' }] })

  // The other instance does not know the key of the access token: it is refused, and renewed.
  const before = session.tokens
  const elsewhere = clientOf(laterAddress, session)
  const answers = await Promise.all(Array.from({ length: 5 }, () => api.getMe({ client: elsewhere })))
  for (const { data, error } of answers) t.match(error ?? data, { user: { displayName: 'Ada Lovelace' } })
  t.not(session.tokens?.accessToken, before?.accessToken)
  t.equal((await api.updateMe({ client: elsewhere, body: { displayName: 'Ada' } })).response.status, 200)

  const { data: { sessions } } = await api.listSessions({ client: elsewhere })
  t.equal(sessions.length, 2)
  const other = sessions.find(({ current }: { current: boolean }) => !current)
  t.equal((await api.revokeSession({ client: elsewhere, path: { id: other.id } })).response.status, 204)
  t.match((await api.revokeSession({ client: elsewhere, path: { id: other.id } })).error, { code: 'NOT_FOUND' })
  t.equal((await api.changePassword({ client: elsewhere, body: { currentPassword: PASSWORD, newPassword: `${PASSWORD}!` } })).response.status, 204)
  const wrong = await api.changePassword({ client: elsewhere, body: { currentPassword: PASSWORD, newPassword: `${PASSWORD}?` } })
  t.match(wrong.error, { code: 'INVALID_CREDENTIALS' }, 'which is no reason to renew anything')
  t.equal((await api.revokeSessions({ client: elsewhere, query: { all: true } })).response.status, 204)

  t.match((await api.getMe({ client: elsewhere })).error, { code: 'UNAUTHORIZED' })
  t.equal(session.tokens, undefined, 'the session is over')
  session.tokens = (await api.login({ client: elsewhere, body: { email: body.email, password: `${PASSWORD}!` } })).data
  t.equal((await api.logout({ client: elsewhere })).response.status, 204)
  session.tokens = (await api.login({ client: elsewhere, body: { email: body.email, password: `${PASSWORD}!` } })).data
  t.equal((await api.deleteMe({ client: elsewhere, body: { password: `${PASSWORD}!` } })).response.status, 204)
  t.match((await api.login({ client: elsewhere, body: { email: body.email, password: `${PASSWORD}!` } })).error, { code: 'INVALID_CREDENTIALS' })
  for (const name of ['getHealth', 'getReadiness', 'getStatus', 'getApi', 'getJwks']) t.equal((await api[name]({ client })).response.status, 200, name)
})

test('a client renews once at a time, and who is refused late takes the token that is there by then', async (t) => {
  const api = await load('microts/index.js')
  const { clientOf } = await load('session.js')
  const app = await build(t)
  const session: { tokens?: { accessToken: string, refreshToken: string } } = {}
  const client = clientOf(await app.listen({ port: 0 }), session)
  session.tokens = (await api.register({ client, body: { email: 'ada@example.com', password: PASSWORD } })).data
  const expire = () => { session.tokens = { ...session.tokens!, accessToken: 'expired' } }

  const real = globalThis.fetch
  t.teardown(() => { globalThis.fetch = real })
  const answers: string[] = []
  let held: { path: string, until: Promise<void> } | undefined
  globalThis.fetch = async (...request: Parameters<typeof fetch>) => {
    const response = await real(...request)
    const { pathname } = new URL(response.url)
    answers.push(`${pathname} ${response.status}`)
    const { until } = held?.path === pathname ? held : {}
    if (until) held = undefined
    await until
    return response
  }
  const hold = (path: string) => {
    const { promise: until, resolve } = Promise.withResolvers<void>()
    held = { path, until }
    return resolve
  }

  expire()
  const tell = hold('/me')
  const late = api.getMe({ client })
  await eventually(() => held === undefined)
  t.equal((await api.getMe({ client })).response.status, 200)
  tell()
  t.equal((await late).response.status, 200)
  t.same(answers.splice(0), ['/me 401', '/me 401', '/auth/refresh 200', '/me 200', '/me 200'])

  expire()
  const renew = hold('/auth/refresh')
  const all = Array.from({ length: 3 }, () => api.getMe({ client }))
  await eventually(() => answers.length === 4)
  renew()
  for (const { response } of await Promise.all(all)) t.equal(response.status, 200)
  t.same(answers.filter((answer) => answer.startsWith('/auth/refresh')), ['/auth/refresh 200'])
})

test('a renewal that comes late replaces nothing, and one that is cut off is no success', async (t) => {
  const api = await load('microts/index.js')
  const { clientOf } = await load('session.js')
  const app = await build(t)
  const session: { tokens?: { accessToken: string, refreshToken: string } | undefined } = {}
  const client = clientOf(await app.listen({ port: 0 }), session)
  const body = { email: 'ada@example.org', password: PASSWORD }
  session.tokens = (await api.register({ client, body })).data
  const expire = () => { session.tokens = { ...session.tokens!, accessToken: 'expired' } }

  const real = globalThis.fetch
  t.teardown(() => { globalThis.fetch = real })
  let change = async (response: Response) => response
  globalThis.fetch = async (...request: Parameters<typeof fetch>) => {
    const response = await real(...request)
    return new URL(response.url).pathname === '/auth/refresh' ? change(response) : response
  }

  for (const latest of [(await api.login({ client, body })).data, undefined]) {
    const { promise: isLate, resolve: answer } = Promise.withResolvers<void>()
    const { promise: isAsked, resolve: asked } = Promise.withResolvers<void>()
    change = async (response) => {
      asked()
      await isLate
      return response
    }
    expire()
    const me = api.getMe({ client })
    await isAsked
    session.tokens = latest
    answer()
    t.equal((await me).response.status, latest ? 200 : 401)
    t.equal(session.tokens, latest)
  }

  session.tokens = (await api.login({ client, body })).data
  for (const rest of ['', '{"accessToken":"ey']) {
    change = async (response) => new Response(rest, response)
    expire()
    const before = session.tokens
    t.match(await api.getMe({ client }), { data: undefined, error: Error, response: undefined })
    t.equal(session.tokens, before)
  }
  change = async (response) => response
  t.equal((await api.getMe({ client })).response.status, 200, 'it is tried again within the grace')
})

test('tabs that share their tokens go on, and one that comes later with a copy of its own ends the session', async (t) => {
  const api = await load('microts/index.js')
  const { clientOf } = await load('session.js')
  const app = await build(t, { REFRESH_GRACE_SECONDS: '0' })
  const address = await app.listen({ port: 0 })
  const storage: Record<string, string> = {}
  const open = () => {
    const session = {
      get tokens () { return storage.tokens && JSON.parse(storage.tokens) },
      set tokens (pair) { storage.tokens = pair ? JSON.stringify(pair) : '' }
    }
    return { session, client: clientOf(address, session) }
  }
  const [one, other] = [open(), open()]
  one.session.tokens = (await api.register({ client: one.client, body: { email: 'tabs@example.com', password: PASSWORD } })).data
  const expire = () => { one.session.tokens = { ...one.session.tokens, accessToken: 'expired' } }

  expire()
  const copy = { tokens: one.session.tokens }
  t.equal((await api.getMe({ client: one.client })).response.status, 200)
  t.equal((await api.getMe({ client: other.client })).response.status, 200)
  expire()
  t.equal((await api.getMe({ client: other.client })).response.status, 200)
  t.equal((await api.getMe({ client: one.client })).response.status, 200)

  t.match((await api.getMe({ client: clientOf(address, copy) })).error, { code: 'UNAUTHORIZED' })
  t.match((await api.getMe({ client: one.client })).error, { code: 'UNAUTHORIZED' })
  t.notOk(other.session.tokens, 'and all of them know')
})

test('what a renewal is refused with is the answer, and it is asked for where all else is', async (t) => {
  const api = await load('microts/index.js')
  const { clientOf } = await load('session.js')
  const app = await build(t, { RATE_LIMIT_REFRESH_MAX: '1' })
  const session: { tokens?: { accessToken: string, refreshToken: string } } = {}
  const client = clientOf(`${await app.listen({ port: 0 })}/`, session)
  session.tokens = (await api.register({ client, body: { email: 'grace@example.com', password: PASSWORD } })).data
  const expire = () => { session.tokens = { ...session.tokens!, accessToken: 'expired' } }

  expire()
  t.equal((await api.getMe({ client })).response.status, 200)

  expire()
  for (const { error, response } of await Promise.all([api.getMe({ client }), api.getMe({ client })])) {
    t.match(error, { code: 'RATE_LIMIT_EXCEEDED', instance: '/auth/refresh' })
    t.equal(response.status, 429)
    t.match(response.headers.get('retry-after'), /^\d+$/)
  }
  t.match(session.tokens, { accessToken: 'expired' }, 'the session is not over')

  const real = globalThis.fetch
  t.teardown(() => { globalThis.fetch = real })
  globalThis.fetch = async (...request: Parameters<typeof fetch>) => {
    if ((request[0] as Request).url.endsWith('/auth/refresh')) throw new TypeError('fetch failed')
    return real(...request)
  }
  t.match(await api.getMe({ client }), { data: undefined, error: { message: 'fetch failed' }, response: undefined })
})

test('the client command says what it does, and replaces nothing but its own', async (t) => {
  const outcome = (name: string, from?: string) =>
    spawnSync(process.execPath, [join(root, 'deploy/client.ts'), name], { encoding: 'utf8', env: { ...process.env, INIT_CWD: from } })
  for (const word of ['help', '--help', '-h']) t.match(outcome(word), { status: 0, stdout: /^Usage: npm run client/, stderr: '' })
  t.match(outcome('--nonsense'), { status: 2, stdout: '', stderr: /^Usage: npm run client/ })

  t.equal(outcome('.', join(folder, 'src/microts')).status, 0, 'again, seen from where npm was called')
  t.match(outcome(join(folder, 'src')), { status: 1, stdout: '', stderr: / holds something else/ })
})

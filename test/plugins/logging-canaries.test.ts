import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { buildWith } from '../build-with.ts'
import { found, secret } from '../canaries.ts'
import { bearer, databaseUrl, logIn, post, settings } from '../helper.ts'
import { createLog } from '../log.ts'
import { wire } from '../wire.ts'
import type { FastifyInstance, InjectOptions } from 'fastify'

/** Requests of every kind to every route there is, each of which gets a session of its own to end. */
async function callEverything (app: FastifyInstance, bodies: object[], openSession: () => Promise<string>, refreshToken: string, query: string) {
  const json = { 'content-type': 'application/json' }
  const payloads: InjectOptions[] = bodies.flatMap((body): InjectOptions[] => [
    { payload: body },
    { payload: { ...body, unheardOf: query } },
    { payload: String(new URLSearchParams(body as Record<string, string>)), headers: { 'content-type': 'application/x-www-form-urlencoded' } }
  ])
  payloads.push({ payload: `{"password":"${query}"}}`, headers: json }, { payload: query, headers: json }, { payload: query, headers: { 'content-type': query } })
  for (const template of app.urls) {
    const url = template.replace(':id', query).replace('*', query)
    const call = (method: string, request: InjectOptions) => app.inject({ method: method as 'GET', url, ...request })
    const allowed = String((await call('OPTIONS', {})).headers.allow).split(', ')
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY']) {
      const authorization = `Bearer ${await openSession()}`
      for (const { payload, headers } of allowed.includes(method) ? payloads : []) await call(method, { payload, headers: { ...headers, authorization } })
      for (const text of [authorization, `Bearer ${refreshToken}`, query]) {
        const strange = { authorization: text, cookie: query, 'if-match': query, 'if-none-match': query, 'x-request-id': `${query} `, 'user-agent': query, origin: query }
        for (const params of [undefined, { all: query }]) await call(method, { query: params, payload: { displayName: query }, headers: strange })
      }
    }
  }
}

test('no secret and no address is in any line, whatever happens', async (t) => {
  const log = createLog()
  const [password, newPassword, displayName, query] = [secret('password'), secret('new-password'), secret('name'), secret('query')]
  const email = `${secret('mail').slice(0, 30)}@example.com`
  const app = await buildWith(t, (app) => {
    app.get('/duplicate', () => app.db.query(`
      insert into users (id, email, email_canonical, password_hash)
      select gen_random_uuid(), email, email_canonical, password_hash from users`))
    app.get('/unreadable', () => app.db.query('select $1::uuid', [email]))
    app.get('/unexpected', () => { throw Object.assign(new Error('unexpected', { cause: new SyntaxError(email) }), { config: { password }, input: databaseUrl }) })
  }, { LOG_LEVEL: 'trace', ALLOWED_ORIGINS: 'https://a.example' }, log)

  const { accessToken, refreshToken } = (await post(app, '/auth/register', { email, password, displayName })).json()
  const refreshed = (await post(app, '/auth/refresh', { refreshToken })).json()
  await app.inject({ method: 'PUT', url: '/me/password', headers: bearer(refreshed.accessToken), payload: { currentPassword: password, newPassword } })
  const issued = [accessToken, refreshToken, refreshed.accessToken, refreshed.refreshToken]
  const openSession = async () => {
    const tokens = await logIn(app, email, newPassword)
    issued.push(tokens.accessToken, tokens.refreshToken)
    return tokens.accessToken
  }

  for (const url of ['/duplicate', '/unreadable', '/unexpected', '/%zz']) await app.inject({ url: `${url}?${query}`, headers: bearer(accessToken) })
  const bodies = [{ email, password, displayName }, { email, password }, { refreshToken }, { displayName }, { password }, { currentPassword: password, newPassword }]
  await callEverything(app, bodies, openSession, refreshToken, query)
  await app.inject({ method: 'DELETE', url: '/me', headers: bearer(await openSession()), payload: { password: newPassword } })
  const { send } = await wire(app)
  for (const text of [`${query}\r\n\r\n`, `GET /${query} HTTP/1.1\r\nAuthorization: Bearer ${accessToken}\r\nX ${query}\r\n\r\n`, `CONNECT ${query}:1 HTTP/1.1\r\nHost: ${query}\r\n\r\n`]) await send(text)
  await app.close()

  const ours = [new URL(databaseUrl).password, JSON.parse(settings.JWT_KEYS ?? '').keys[0].d, settings.REFRESH_TOKEN_SECRET]
  const canaries = [password, newPassword, displayName, query, email, databaseUrl, ...ours, ...issued]
  t.same(found(log.written, canaries), [])
  t.equal(found([`{"a":"${email}"}`, `{"a":"${accessToken.slice(0, -5)}"}`, `{"a":"${encodeURIComponent(refreshToken)}"}`], canaries).length, 3, 'what is there is found')
  const seen = log.lines.filter(({ statusCode }) => statusCode)
  t.same([...new Set(seen.map(({ statusCode }) => statusCode))].sort(), [200, 201, 204, 400, 401, 404, 405, 409, 412, 415, 500])
  t.same([...app.urls].filter((url) => !seen.some(({ route }) => route === url)), [], 'every route')
  t.match(seen.filter(({ level }) => level === 50).map(({ err }) => err), [{ code: '23505', constraint: 'users_email_canonical_key' }, { code: '22P02' }, { message: 'unexpected', cause: { type: 'SyntaxError' } }])
})

test('neither is the database one cannot reach, nor a key file one cannot read', async (t) => {
  const password = secret('dsn')
  const file = join(t.testdir({ keys: settings.JWT_KEYS ?? '' }), 'keys')
  const nowhere = { host: '127.0.0.1:1' }
  for (const { host } of [new URL(databaseUrl), nowhere, { host: 'nowhere.invalid' }]) {
    const log = createLog()
    const config = { ...settings, MIGRATE_ON_START: 'true', LOG_LEVEL: 'trace', DATABASE_URL: `postgres://${new URL(databaseUrl).username}:${password}@${host}/x`, JWT_KEYS: undefined, JWT_KEYS_FILE: file }
    const app = await buildApp(loadConfig(config), { stream: log })
    t.teardown(() => app.close())
    await app.ready()
    t.equal((await post(app, '/auth/login', { email: 'ada@example.com', password })).statusCode, 503)
    await log.line('migrating failed, it will be tried again')
    writeFileSync(file, `{"keys":[{"kty":"OKP","d":${password}}]}`)
    await app.keys.reread()
    t.same(found(log.written, [password, 'canary']), [], host)
    t.match(await log.line('changed signing keys are not usable, the old ones stay'), { level: 50 })
    t.match(await log.line('request failed'), { level: 50, statusCode: 503, err: { code: 'SERVICE_UNAVAILABLE', cause: { code: /^(28P01|ECONNREFUSED|ENOTFOUND|EAI_AGAIN)$/ } } })
    writeFileSync(file, settings.JWT_KEYS ?? '')
  }
})

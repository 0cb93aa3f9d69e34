import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { bearer, build, logIn, PASSWORD, post, signUp, sql } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const BODY_ROUTES = [
  ['POST', '/auth/register'], ['POST', '/auth/login'], ['POST', '/auth/refresh'], ['PATCH', '/me'], ['DELETE', '/me'], ['PUT', '/me/password']
] as const

test('a body is JSON or refused, whatever its type is called', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  const taken = [
    'application/json', 'application/json; charset=utf-8', 'APPLICATION/JSON', 'application/json;charset="UTF-8"', 'application/json;', 'application/json; foo',
    'application/json; foo=bar', ' application/json', '\tapplication/json', 'application/json '
  ]
  const refused = [
    undefined, '', ';', 'application', 'text/plain', 'text/json', 'multipart/form-data; boundary=x', 'application/xml', 'application/vnd.api+json', 'application/jsonx',
    'application/json\ta', 'application/json a', 'application/json, text/plain', 'application/ json', 'application /json', 'application/json; charset=utf-16',
    'application/json; charset="utf-16"', 'application/json; Charset = utf-16', 'application/json;;charset=iso-8859-1', 'application/json; charset='
  ]
  for (const [method, url] of BODY_ROUTES) {
    const send = (type?: string) => app.inject({ method, url, payload: Buffer.from('{"unheardOf":1}'), headers: { ...headers, ...(type === undefined ? {} : { 'content-type': type }) } })
    for (const type of taken) isProblem(t, await send(type), 400, 'VALIDATION_ERROR', `${url} ${JSON.stringify(type)}`)
    for (const type of refused) {
      const answer = await send(type)
      isProblem(t, answer, 415, 'UNSUPPORTED_MEDIA_TYPE', `${url} ${JSON.stringify(type)}`)
      t.notHas(answer.headers, { 'accept-encoding': String })
      t.equal(answer.headers['accept-patch'], method === 'PATCH' ? 'application/json' : undefined)
    }
    for (const encoding of ['gzip', 'br', 'identity', '']) {
      const answer = await app.inject({ method, url, payload: '{}', headers: { ...headers, ...JSON_TYPE, 'content-encoding': encoding } })
      isProblem(t, answer, 415, 'UNSUPPORTED_MEDIA_TYPE', `${url} ${encoding}`)
      t.equal(answer.headers['accept-encoding'], 'identity')
    }
  }
})

test('nothing may be of any type where nothing is wanted', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const { send } = await wire(app)
  for (const type of [[], ...['application/json', 'application/x-www-form-urlencoded', 'text/plain;charset=UTF-8', 'nonsense'].map((type) => [`Content-Type: ${type}`])]) {
    for (const line of ['POST /auth/logout', 'DELETE /me/sessions']) {
      for (const length of [[], ['Content-Length: 0']]) {
        const { accessToken } = await logIn(app, email)
        const { statusCode } = await send(head(line, `Authorization: Bearer ${accessToken}`, ...type, ...length))
        t.equal(statusCode, 204, `${line} ${type} ${length}`)
      }
    }
  }
  const { accessToken } = await logIn(app, email)
  t.equal((await send(head('DELETE /me/sessions', `Authorization: Bearer ${accessToken}`, 'Content-Type: application/json', 'Transfer-Encoding: chunked'), '0\r\n\r\n')).statusCode, 204, 'JSON, in no chunks')
  for (const [header, body] of [['Content-Length: 1', 'x'], ['Transfer-Encoding: chunked', '0\r\n\r\n']] as const) {
    isProblem(t, await send(head('POST /auth/logout', `Authorization: Bearer ${accessToken}`, 'Content-Type: text/plain', header), body), 415, 'UNSUPPORTED_MEDIA_TYPE')
  }
})

test('a body has 10 240 bytes at most, however it is sent', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const { send } = await wire(app)
  const credentials = JSON.stringify({ email, password: PASSWORD })
  const whole = (body: string) => [head('POST /auth/login', 'Content-Type: application/json', `Content-Length: ${body.length}`), body]
  const chunked = (body: string) => [
    head('POST /auth/login', 'Content-Type: application/json', 'Transfer-Encoding: chunked'),
    ...body.match(/.{1,4000}/gs)!.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`), '0\r\n\r\n'
  ]
  for (const how of [whole, chunked]) {
    t.equal((await send(...how(credentials.padEnd(10_240)))).statusCode, 200, how.name)
    isProblem(t, await send(...how(credentials.padEnd(10_241))), 413, 'PAYLOAD_TOO_LARGE', how.name)
  }
  isProblem(t, await send(whole('').join(), 'x'.repeat(9)), 400, 'BAD_REQUEST', 'an empty body')
})

test('what is no JSON object is refused', async (t) => {
  const app = await build(t)
  const login = (payload: string | Buffer) => app.inject({ method: 'POST', url: '/auth/login', payload, headers: JSON_TYPE })
  const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  const malformed = {
    nothing: '',
    'a space': ' ',
    'an open brace': '{',
    'a trailing comma': '{"a":1,}',
    'two objects': '{}{}',
    'single quotes': "{'a':1}",
    'not a number': '{"a":NaN}',
    'a raw NUL': '{"email":"a\0@example.com"}',
    'a byte that is no UTF-8': Buffer.from('7b2261223a22ff227d', 'hex'),
    'an overlong slash': Buffer.from('7b2261223a22c0af227d', 'hex'),
    'a surrogate in UTF-8': Buffer.from('7b2261223a22eda080227d', 'hex'),
    'UTF-16': Buffer.from('{}', 'utf16le'),
    __proto__in: '{"__proto__":{"isAdmin":true}}',
    '__proto__ escaped': '{"\\u005f_proto__":{"isAdmin":true}}',
    '__proto__ below': '{"a":[{"__proto__":{"isAdmin":true}}]}',
    '__proto__ that is null': '{"__proto__":null}',
    'constructor.prototype': '{"constructor":{"prototype":{"isAdmin":true}}}',
    'constructor.prototype escaped': '{"\\u0063onstructor":{"\\u0070rototype":null}}',
    'constructor.prototype below': '{"a":[{"constructor":{"prototype":1}}]}',
    'a byte order mark alone': '\ufeff',
    'a no-break space before': '\u00a0{}',
    'NUL after': '{}\0',
    'open brackets': '['.repeat(10_000),
    'open braces': '{"a":'.repeat(2000)
  }
  for (const [what, body] of Object.entries(malformed)) isProblem(t, await login(body), 400, 'BAD_REQUEST', what)
  for (const body of ['null', '[]', '1', '"x"', 'true', '{}', nested(5000), `{"a":${nested(4990)}}`, `{"email":${'{"a":'.repeat(1600)}1${'}'.repeat(1600)}}`, '{"constructor":1}', '{"prototype":{}}', '{"toString":1}', '\ufeff{}', '-0', '1e400', '{"email":1e400,"password":-0}', '{"\\ud800":1}', '{"\\u0000":1}', '{"":1}']) {
    isProblem(t, await login(body), 400, 'VALIDATION_ERROR', body.slice(0, 20))
  }
  t.notOk('isAdmin' in {})
})

test('of a key that stands twice, the last one counts', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const payload = `{"email":"nobody@example.com","email":${JSON.stringify(email)},"password":${JSON.stringify(PASSWORD)}}`
  t.equal((await app.inject({ method: 'POST', url: '/auth/login', payload, headers: JSON_TYPE })).statusCode, 200)
})

test('a fault names its place, and never the value', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  const email = 'ada@example.com'
  const canary = 'canary-0451'
  type Row = [url: string, body: object, pointer: string, code: string]
  const table: Row[] = [
    ['/auth/login', { email }, '/password', 'required'],
    ['/auth/login', { email, password: canary, 'a/b~c': canary }, '/a~1b~0c', 'additionalProperties'],
    ...['role', 'isAdmin', 'emailVerified', 'id', 'sessionId'].map((name): Row => ['/auth/register', { email, password: PASSWORD, [name]: canary }, `/${name}`, 'additionalProperties']),
    ...[12_345_678, true, [canary], { canary }, null].flatMap((value): Row[] => [
      ['/auth/register', { email, password: value }, '/password', 'type'],
      ['/auth/register', { email: value, password: canary }, '/email', 'type'],
      ['/auth/login', { email: value, password: canary }, '/email', 'type'],
      ['/auth/refresh', { refreshToken: value }, '/refreshToken', 'type'],
      ['/me/password', { currentPassword: canary, newPassword: value }, '/newPassword', 'type']
    ]),
    ...['\0', '\ud800', '\udc00x', 'x\ud800'].flatMap((text): Row[] => [
      ['/auth/register', { email, password: canary + text }, '/password', 'x-well-formed'],
      ['/auth/register', { email, password: canary, displayName: canary + text }, '/displayName', 'x-well-formed'],
      ['/auth/register', { email: `${canary}${text}@example.com`, password: canary }, '/email', 'x-well-formed'],
      ['/auth/login', { email, password: canary + text }, '/password', 'x-well-formed'],
      ['/auth/refresh', { refreshToken: canary + text }, '/refreshToken', 'x-well-formed'],
      ['/me/password', { currentPassword: canary + text, newPassword: canary }, '/currentPassword', 'x-well-formed']
    ]),
    ['/auth/register', { email: canary, password: PASSWORD }, '/email', 'pattern'],
    ['/auth/register', { email: `${canary}@localhost`, password: PASSWORD }, '/email', 'email'],
    ['/auth/refresh', { refreshToken: canary.repeat(100) }, '/refreshToken', 'maxLength']
  ]
  for (const [url, body, pointer, code] of table) {
    const answer = await app.inject({ method: url === '/me/password' ? 'PUT' : 'POST', url, payload: body, headers })
    const { errors } = isProblem(t, answer, 400, 'VALIDATION_ERROR', `${url} ${JSON.stringify(body)}`)
    t.ok(errors.some((fault: { pointer: string, code: string }) => fault.pointer === pointer && fault.code === code), JSON.stringify(errors))
    t.notMatch(answer.body, canary)
  }
  t.same(await sql('select email from users where email ~ $1', [canary]), [])
})

test('a body full of faults gets a bounded answer', async (t) => {
  const app = await build(t)
  const body = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, 0]))
  t.equal((await post(app, '/auth/login', body)).json().errors.length, 20)
  const { errors: [{ pointer }] } = (await post(app, '/auth/login', { ['k'.repeat(9000)]: 0, email: 'ada@example.com', password: PASSWORD })).json()
  t.equal(pointer.length, 65)
})

test('no input makes a route slow', async (t) => {
  const app = await build(t)
  const evil = [
    { email: 'a'.repeat(10_000) }, { email: `${' '.repeat(10_000)}@` }, { email: `a@${'a'.repeat(10_000)} x` }, { email: `${'a.'.repeat(5000)}@` },
    { displayName: ' '.repeat(10_000) }, { displayName: `${'\u00a0a'.repeat(3000)}\n` }, { password: '\u{1f600}'.repeat(2500) }, { a: JSON.parse('['.repeat(4000) + ']'.repeat(4000)) }
  ]
  for (const part of evil) {
    const payload = { email: 'ada@example.com', password: PASSWORD, ...part }
    const times = []
    for (let i = 0; i < 3; i++) {
      const startedAt = performance.now()
      t.equal((await post(app, '/auth/register', payload)).statusCode, 400)
      times.push(performance.now() - startedAt)
    }
    t.ok(Math.min(...times) < 50, `${JSON.stringify(part).slice(0, 30)} ${times}`)
  }
})

test('what comes with the URL is as strict', async (t) => {
  const app = await build(t)
  const { email, accessToken, headers } = await signUp(app)
  await logIn(app, email)
  const queries = ['all=true&all=true', 'all=true&all=false', 'all=1', 'all=yes', 'all=', 'all', 'all=null', 'ALL=true', 'all=true&x=1', 'all[]=true', '__proto__=1', 'constructor=1', 'all=%zz', 'all=%00', '=']
  for (const query of queries) {
    const { errors: [fault] } = isProblem(t, await app.inject({ method: 'DELETE', url: `/me/sessions?${query}`, headers }), 400, 'VALIDATION_ERROR', query)
    t.match(fault, { pointer: /^\/querystring\//, code: /type|additionalProperties/ })
  }
  for (const url of ['/health', '/ready', '/status', '/api', '/.well-known/jwks.json', '/me', '/me/sessions']) {
    isProblem(t, await app.inject({ url: `${url}?all=true`, headers }), 400, 'VALIDATION_ERROR', `${url} takes no query`)
  }
  for (const id of ['1', 'x'.repeat(36), '%00', 'urn:uuid:01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', '%7B01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11%7D', '01936f5e7c1d7f3a9b1e2f4c8a6d0e11', "'or''='"]) {
    const { errors } = isProblem(t, await app.inject({ method: 'DELETE', url: `/me/sessions/${id}`, headers }), 400, 'VALIDATION_ERROR', id)
    t.match(errors, [{ pointer: '/params/id' }])
  }
  const long = await app.inject({ url: '/me', headers: { ...bearer(accessToken), 'if-none-match': 'x'.repeat(1001) } })
  t.match(isProblem(t, long, 400, 'VALIDATION_ERROR').errors, [{ pointer: '/headers/if-none-match', code: 'maxLength' }])
  t.equal((await app.inject({ url: '/me/sessions', headers })).json().sessions.length, 2, 'nothing was revoked')
})

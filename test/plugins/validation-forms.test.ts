import { test } from 'tap'
import { build, PASSWORD, signUp, sql } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'
import type { FastifyInstance } from 'fastify'

const FORM = 'application/x-www-form-urlencoded'

const submit = (app: FastifyInstance, url: string, payload: string | Buffer, type = FORM) =>
  app.inject({ method: 'POST', url, payload, headers: { 'content-type': type } })

test('the three routes that open a session take a form', async (t) => {
  const app = await build(t)
  const email = 'ada+form@example.com'
  const password = 'Bücher & 100 % = + žluťoučký 🐎'
  const registered = await submit(app, '/auth/register', String(new URLSearchParams({ email, password, displayName: 'Ada Lovelace' })))
  t.equal(registered.statusCode, 201)
  t.match(registered.json().user, { email, displayName: 'Ada Lovelace' })

  const spellings = [String(new URLSearchParams({ email, password })), `email=${encodeURIComponent(email)}&password=${encodeURIComponent(password)}`, `&email=${encodeURIComponent(email)}&&password=${encodeURIComponent(password)}&`]
  for (const body of spellings) t.equal((await submit(app, '/auth/login', body)).statusCode, 200, body)
  const raw = `email=${encodeURIComponent(email)}&password=Bücher+%26+100+%25+=+%2B+žluťoučký+🐎`
  const login = await submit(app, '/auth/login', raw, `${FORM.toUpperCase()}; charset=UTF-8`)
  t.equal(login.statusCode, 200, 'bytes that need no escape may stand for themselves')
  const refreshed = await submit(app, '/auth/refresh', String(new URLSearchParams({ refreshToken: login.json().refreshToken })))
  t.equal(refreshed.statusCode, 200)
})

test('a form and a body in JSON have the same password, whatever it begins with', async (t) => {
  const app = await build(t)
  const [email, password] = ['bom@example.com', '\ufeffcorrect horse battery staple']
  t.equal((await app.inject({ method: 'POST', url: '/auth/register', payload: { email, password } })).statusCode, 201)
  t.equal((await submit(app, '/auth/login', String(new URLSearchParams({ email, password })))).statusCode, 200)
})

test('a form is taken as it is, or refused', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const [name, password] = [encodeURIComponent(email), encodeURIComponent(PASSWORD)]
  const malformed = {
    'a field twice': `email=${name}&password=x&password=${password}`,
    'a field twice, spelled in two ways': `email=${name}&password=${password}&%70assword=${password}`,
    'bytes that are no UTF-8': Buffer.from(`email=${name}&password=\xff`, 'latin1'),
    'escapes that are no UTF-8': `email=${name}&password=%ff`,
    'an overlong escape': `email=${name}&password=%c0%af`,
    'a surrogate': `email=${name}&password=%ed%a0%80`,
    'a name that is no UTF-8': `email=${name}&%ff=1`,
    'a bare %': `email=${name}&password=100%`,
    'half an escape': `email=${name}&password=%4`,
    'an escape of no digits': `email=${name}&password=%zz`,
    'a name with a bare %': `email=${name}&%=1`,
    proto: `email=${name}&password=${password}&__proto__=1`,
    'proto, escaped': `email=${name}&password=${password}&%5F_proto__=1`
  }
  for (const url of ['/auth/login', '/auth/register', '/auth/refresh']) {
    for (const [what, body] of Object.entries(malformed)) isProblem(t, await submit(app, url, body), 400, 'BAD_REQUEST', `${url} ${what}`)
  }
  const invalid: [body: string, pointer: string, code: string][] = [
    ['', '/email', 'required'],
    ['&', '/password', 'required'],
    ['email', '/email', 'minLength'],
    ['=', '/', 'additionalProperties'],
    [`email=${name}&password=${password}&role=admin`, '/role', 'additionalProperties'],
    [`email=${name}&password=${password}&constructor=1`, '/constructor', 'additionalProperties'],
    [`email=${name}&password[]=${password}`, '/password[]', 'additionalProperties'],
    [`email=${name}&password=canary%00`, '/password', 'x-well-formed'],
    [`{"email":"${email}","password":"canary"}`, '/email', 'required']
  ]
  for (const [body, pointer, code] of invalid) {
    const answer = await submit(app, '/auth/login', body)
    const { errors } = isProblem(t, answer, 400, 'VALIDATION_ERROR', body)
    t.ok(errors.some((fault: { pointer: string, code: string }) => fault.pointer === pointer && fault.code === code), JSON.stringify(errors))
    t.notMatch(answer.body, /canary|correct horse/)
  }
  t.same(await sql('select from users where created_at > (select created_at from users where email = $1)', [email]), [])
})

test('a form has the bounds of JSON', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const { send } = await wire(app)
  const form = `email=${encodeURIComponent(email)}&password=${encodeURIComponent(PASSWORD)}`
  const whole = (length: number) => send(head('POST /auth/login', `Content-Type: ${FORM}`, `Content-Length: ${length}`), form.padEnd(length, '&'))
  t.equal((await whole(10_240)).statusCode, 200)
  isProblem(t, await whole(10_241), 413, 'PAYLOAD_TOO_LARGE')
  isProblem(t, await submit(app, '/auth/login', form, `${FORM}; charset=iso-8859-1`), 415, 'UNSUPPORTED_MEDIA_TYPE')
})

test('a form of thousands of fields is refused before any is looked at', async (t) => {
  const app = await build(t)
  const form = (fields: number) => Array.from({ length: fields }, (_, i) => i.toString(36)).join('&')
  for (const url of ['/auth/register', '/auth/login', '/auth/refresh']) {
    isProblem(t, await submit(app, url, form(20)), 400, 'VALIDATION_ERROR')
    for (const fields of [21, 2500]) isProblem(t, await submit(app, url, form(fields)), 400, 'BAD_REQUEST')
  }
})

test('no other route takes a form', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  for (const [method, url] of [['PATCH', '/me'], ['DELETE', '/me'], ['PUT', '/me/password'], ['POST', '/auth/logout'], ['DELETE', '/me/sessions']] as const) {
    const answer = await app.inject({ method, url, payload: 'password=x', headers: { ...headers, 'content-type': FORM } })
    isProblem(t, answer, 415, 'UNSUPPORTED_MEDIA_TYPE', `${method} ${url}`)
  }
  t.equal((await app.inject({ url: '/me', headers })).statusCode, 200)
})

test('a route without a body takes none to heart', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  for (const payload of ['', '{}', '[1]']) {
    const answer = await app.inject({ method: 'DELETE', url: '/me/sessions', payload, headers: { ...headers, 'content-type': 'application/json' } })
    t.equal(answer.statusCode, 204, payload)
  }
  isProblem(t, await app.inject({ method: 'DELETE', url: '/me/sessions', payload: '{', headers: { ...headers, 'content-type': 'application/json' } }), 400, 'BAD_REQUEST')
})

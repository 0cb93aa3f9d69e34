import { Type } from '@sinclair/typebox'
import { test } from 'tap'
import { EmailTaken, MethodNotAllowed, refusal, tooManyRequests, unavailable, Validation } from '../../plugins/errors.ts'
import { buildWith } from '../build-with.ts'
import { bearer, build, post, signUp } from '../helper.ts'
import { createLog } from '../log.ts'
import { isProblem } from '../problem.ts'

const CANARY = 'canary-0451'
const thrown = (fields: object) => Object.assign(new Error(CANARY), fields)

test('what nobody expected is a 500 that says nothing of it', async (t) => {
  const log = createLog()
  const values: Record<string, unknown> = {
    error: new Error(CANARY),
    type: new TypeError(CANARY),
    cause: new Error(CANARY, { cause: new Error(CANARY) }),
    aggregate: new AggregateError([new Error(CANARY)], CANARY),
    postgres: thrown({ severity: 'ERROR', code: '23505', detail: CANARY, constraint: 'users_email_canonical_key' }),
    'not ours': thrown({ statusCode: 503 }),
    'status 200': thrown({ statusCode: 200 }),
    'status 302': thrown({ statusCode: 302 }),
    code: thrown({ code: 'EMAIL_TAKEN_', statusCode: 500 }),
    text: CANARY,
    object: { statusCode: 400, code: 'BAD_REQUEST', message: CANARY },
    number: 42,
    null: null,
    void: undefined
  }
  const app = await buildWith(t, (app) => app.get('/throw/:what', async (request) => {
    throw values[(request.params as { what: string }).what]
  }), { LOG_LEVEL: 'info' }, log)
  for (const what of Object.keys(values)) {
    log.written.length = 0
    const answer = await app.inject(`/throw/${encodeURIComponent(what)}`)
    const { detail } = isProblem(t, answer, 500, 'INTERNAL_SERVER_ERROR', what)
    t.equal(detail, 'Something went wrong on our side')
    t.notMatch(JSON.stringify([answer.headers, answer.body]), CANARY)
    t.match(log.lines, [{ level: 50, statusCode: 500, route: '/throw/:what', err: { type: /./, message: /./ } }])
    t.equal(log.lines.length, 1)
  }
})

test('so it is wherever it is thrown', async (t) => {
  const app = await buildWith(t, (app) => {
    for (const hook of ['onRequest', 'preParsing', 'preValidation', 'preHandler', 'preSerialization'] as const) {
      app.get(`/${hook}`, { [hook]: async () => { throw new Error(CANARY) } }, async () => ({}))
    }
    app.get('/onSend', { onSend: async (_, reply) => { if (reply.statusCode === 200) throw new Error(CANARY) } }, async () => ({}))
    app.get('/synchronous', () => { throw new Error(CANARY) })
    app.get('/sent', (_, reply) => { reply.send(new Error(CANARY)) })
    app.get('/schema', { schema: { response: { 200: Type.Object({ a: Type.Integer() }) } } }, async () => ({ b: CANARY }) as never)
    app.get('/unserializable', async () => ({ toJSON () { throw new Error(CANARY) } }))
  })
  for (const url of ['/onRequest', '/preParsing', '/preValidation', '/preHandler', '/preSerialization', '/onSend', '/synchronous', '/sent', '/schema', '/unserializable']) {
    const answer = await app.inject(url)
    isProblem(t, answer, 500, 'INTERNAL_SERVER_ERROR', url)
    t.notMatch(answer.body, CANARY)
  }
})

test('a refusal of somebody else is told in our words', async (t) => {
  const table: [fields: { statusCode: number, code?: string }, code: string, status?: number][] = [
    [{ statusCode: 400 }, 'BAD_REQUEST'],
    [{ statusCode: 404 }, 'NOT_FOUND'],
    [{ statusCode: 408 }, 'REQUEST_TIMEOUT'],
    [{ statusCode: 413 }, 'PAYLOAD_TOO_LARGE'],
    [{ statusCode: 415 }, 'UNSUPPORTED_MEDIA_TYPE'],
    [{ statusCode: 418 }, 'BAD_REQUEST'],
    [{ statusCode: 499, code: 'SOMETHING' }, 'BAD_REQUEST'],
    [{ statusCode: 400, code: 'FST_ERR_CTP_INVALID_CONTENT_LENGTH' }, 'BAD_REQUEST']
  ]
  const app = await buildWith(t, (app) => app.get('/throw/:row', async (request) => {
    throw thrown(table[Number((request.params as { row: string }).row)]![0])
  }))
  for (const [row, [fields, code, status = fields.statusCode]] of table.entries()) {
    const answer = await app.inject(`/throw/${row}`)
    isProblem(t, answer, status, code, JSON.stringify(fields))
    t.notMatch(answer.body, CANARY)
  }
})

test('a refusal of ours brings its headers', async (t) => {
  const errors = {
    unavailable: unavailable(new Error(CANARY)),
    limited: tooManyRequests(42),
    method: refusal(new MethodNotAllowed(), { headers: { allow: 'GET' } }),
    faults: refusal(new Validation(), { errors: [{ pointer: '/a', code: 'b', message: 'must c' }] }),
    taken: new EmailTaken()
  }
  const app = await buildWith(t, (app) => Object.entries(errors).forEach(([name, error]) => app.get(`/${name}`, async (_, reply) => {
    reply.headers({ 'cache-control': 'public, max-age=60', 'content-type': 'text/html' })
    throw error
  })))
  const ask = async (name: keyof typeof errors, status: number, code: string) => {
    const answer = await app.inject(`/${name}?${CANARY}`)
    t.notMatch(answer.body, CANARY)
    return { ...isProblem(t, answer, status, code), headers: answer.headers }
  }
  t.match(await ask('unavailable', 503, 'SERVICE_UNAVAILABLE'), { headers: { 'retry-after': '1' }, instance: '/unavailable' })
  t.match(await ask('limited', 429, 'RATE_LIMIT_EXCEEDED'), { headers: { 'retry-after': '42' } })
  t.match(await ask('method', 405, 'METHOD_NOT_ALLOWED'), { headers: { allow: 'GET' } })
  t.same((await ask('faults', 400, 'VALIDATION_ERROR')).errors, [{ pointer: '/a', code: 'b', message: 'must c' }])
  t.match(await ask('taken', 409, 'EMAIL_TAKEN'), { title: 'Email taken', headers: { 'www-authenticate': undefined } })
})

test('a 401 says whether a token is wrong', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const challenge = async (answer: Promise<{ headers: object, statusCode: number, body: string }>, code: string) => {
    const { headers, ...rest } = await answer
    isProblem(t, { headers: { ...headers }, ...rest }, 401, code)
    return (headers as Record<string, string>)['www-authenticate']
  }
  const invalid = 'Bearer realm="microts", error="invalid_token"'
  t.equal(await challenge(app.inject({ url: '/me' }), 'UNAUTHORIZED'), invalid)
  t.equal(await challenge(app.inject({ url: '/me', headers: bearer('nonsense') }), 'UNAUTHORIZED'), invalid)
  t.equal(await challenge(post(app, '/auth/login', { email, password: 'wrong' }), 'INVALID_CREDENTIALS'), 'Bearer realm="microts"')
  t.equal(await challenge(post(app, '/auth/refresh', { refreshToken: 'rt1.x' }), 'INVALID_REFRESH_TOKEN'), 'Bearer realm="microts"')
})

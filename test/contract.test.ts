import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { test } from 'tap'
import * as errors from '../plugins/errors.ts'
import { CODES } from '../schemas/common.ts'
import { build, signUp } from './helper.ts'
import { isProblem } from './problem.ts'
import type { FastifyInstance } from 'fastify'

/** Who needs no access token; every other route has to refuse who has none. */
const PUBLIC = new Set([
  'GET /health', 'GET /ready', 'GET /status', 'GET /api', 'GET /.well-known/jwks.json',
  'POST /auth/register', 'POST /auth/login', 'POST /auth/refresh',
  'GET /docs', 'GET /docs/', 'GET /docs/json', 'GET /docs/yaml', 'GET /docs/static/*', 'GET /docs/static/index.html', 'GET /docs/static/swagger-initializer.js'
].flatMap((route) => route.startsWith('GET') ? [route, route.replace('GET', 'HEAD')] : [route]))

type Json = { [key: string]: any }

const UUID = '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'
const root = join(import.meta.dirname, '..')
const pathOf = (url: string) => url.replace(/:\w+/g, UUID).replace('*', 'swagger-ui.css')
const call = (app: FastifyInstance, method: string, url: string, headers = {}) => app.inject({ method: method as 'GET', url: pathOf(url), headers })

/** Every URL with the methods that it says it has. */
async function routesOf (app: FastifyInstance) {
  const urls = [...app.urls].filter((url) => url !== '*')
  return Promise.all(urls.map(async (url) => {
    const { headers: { allow } } = await call(app, 'OPTIONS', url)
    return { url, allow: String(allow), methods: String(allow).split(', ').filter((method) => method !== 'OPTIONS') }
  }))
}

test('every file of ours is loaded, so that coverage counts it', async (t) => {
  const files = globSync('{plugins,routes,schemas}/**/*.ts', { cwd: root })
  t.ok(files.length > 30)
  for (const file of files) t.type(await import(join(root, file)), 'object', file)
})

test('a route refuses who has no token, unless it is known as public', async (t) => {
  const app = await build(t)
  const guarded = []
  for (const { url, methods } of await routesOf(app)) {
    for (const method of methods.filter((method) => !PUBLIC.has(`${method} ${url}`))) {
      for (const headers of [{}, { authorization: 'Bearer x' }, { authorization: 'Basic eDp5' }, { authorization: '' }]) {
        const answer = await call(app, method, url, headers)
        if (method === 'HEAD') t.equal(answer.statusCode, 401, url)
        else isProblem(t, answer, 401, 'UNAUTHORIZED', `${method} ${url}`)
        t.match(answer.headers['www-authenticate'], /^Bearer realm="microts", error="invalid_token"$/)
      }
      guarded.push(`${method} ${url}`)
    }
  }
  t.ok(guarded.length >= 10)
  for (const route of PUBLIC) {
    const [method = '', url = ''] = route.split(' ')
    t.not((await call(app, method, url)).statusCode, 401, route)
  }
})

test('every URL answers every method', async (t) => {
  const app = await build(t, { ALLOWED_ORIGINS: 'https://a.example' })
  for (const { url, allow, methods } of await routesOf(app)) {
    const options = await call(app, 'OPTIONS', url)
    t.hasStrict(options, { statusCode: 204, body: '' }, url)
    t.equal(methods.includes('GET'), methods.includes('HEAD'))
    for (const method of app.supportedMethods.filter((method) => method !== 'OPTIONS')) {
      const answer = await call(app, method, url)
      if (methods.includes(method)) t.ok(answer.statusCode < 500 && answer.statusCode !== 405, `${method} ${url}`)
      else t.hasStrict(answer, { statusCode: 405, headers: { allow } }, `${method} ${url}`)
      if (answer.statusCode === 405 && method !== 'HEAD') isProblem(t, answer, 405, 'METHOD_NOT_ALLOWED')
    }
  }
  for (const method of app.supportedMethods) {
    const answer = await call(app, method, '/nothing')
    t.equal(answer.statusCode, method === 'QUERY' ? 400 : 404, `${method} /nothing`)   // RFC 10008 wants a type first
  }
})

test('HEAD is GET without its body', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  const lasting = ({ date, 'x-request-id': id, 'x-correlation-id': correlationId, ratelimit, 'content-length': length, ...rest }: Record<string, unknown>) => rest
  for (const { url } of (await routesOf(app)).filter(({ methods }) => methods.includes('GET'))) {
    const [get, headed] = [await call(app, 'GET', url, headers), await call(app, 'HEAD', url, headers)]
    t.hasStrict(headed, { statusCode: get.statusCode, body: '' }, url)
    t.same(lasting(headed.headers), lasting(get.headers), url)
    if (!['/status', '/me/sessions'].includes(url)) t.equal(headed.headers['content-length'], get.headers['content-length'], url)
  }
})

test('every code is known, and made in one place', async (t) => {
  const classes = Object.values(errors).filter((value) => typeof value === 'function' && value.prototype instanceof Error)
  t.same(classes.map((Refusal) => Reflect.construct(Refusal, ['']).code).sort(), [...CODES].sort())
  t.equal(new Set(CODES).size, CODES.length)
  for (const code of CODES) t.match(code, /^[A-Z]+(_[A-Z]+)*$/)
  const elsewhere = globSync('{plugins,routes,schemas}/**/*.ts', { cwd: root })
    .filter((file) => file !== join('plugins', 'errors.ts') && /\bcreateError\b|new Error\(.*statusCode/.test(readFileSync(join(root, file), 'utf8')))
  t.same(elsewhere, [])
})

const operationsOf = ({ paths }: Json) => Object.entries<Json>(paths).flatMap(([path, item]) => Object.entries<Json>(item).map(([method, operation]) => ({ path, method, operation })))

/** Every object in a document, itself included. */
function * objectsOf (value: unknown): Generator<Json> {
  if (typeof value !== 'object' || value === null) return
  yield value
  for (const part of Object.values(value)) yield * objectsOf(part)
}

test('the document is OpenAPI 3.1, and whole', async (t) => {
  const app = await build(t)
  const document: Json = (await app.inject('/docs/json')).json()
  t.match(document, { openapi: /^3\.1\.\d$/, info: { title: 'microts', version: app.release, license: { name: 'MIT' } }, components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } } })

  for (const { $ref } of objectsOf(document)) {
    if ($ref === undefined) continue
    const found = $ref.replace(/^#\//, '').split('/').reduce((at: Json | undefined, key: string) => at?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document)
    t.type(found, 'object', $ref)
  }
  const operations = operationsOf(document)
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, ids.length, 'no operationId twice')
  for (const { path, operation: { parameters = [] } } of operations) {
    const inPath = parameters.filter((parameter: Json) => parameter.in === 'path')
    t.same(inPath.map(({ name }: Json) => `{${name}}`).sort(), [...path.matchAll(/\{\w+\}/g)].map(([name]) => name).sort(), path)
    t.ok(parameters.every((parameter: Json) => parameter.schema && parameter.description && (parameter.in === 'path') === parameter.required), path)
  }
  const documented = operations.map(({ path, method }) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`)
  const routes = (await routesOf(app)).flatMap(({ url, methods }) => methods.filter((method) => method !== 'HEAD').map((method) => `${method} ${url}`))
  t.same(documented.sort(), routes.filter((route) => !route.includes(' /docs')).sort(), 'all that there is, and nothing else')
})

test('every operation says what it is, and all that it answers', async (t) => {
  const app = await build(t)
  const document: Json = (await app.inject('/docs/json')).json()
  const tags = document.tags.map(({ name }: Json) => name)
  const ajv = new Ajv2020({ strict: false })
  formats.default(ajv)
  ajv.addSchema({ ...document, $id: 'document' })
  const isValid = (schema: Json, example: unknown, what: string) => t.ok(ajv.validate(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"document#/')), example), `${what} ${ajv.errorsText()}`)

  for (const { path, method, operation } of operationsOf(document)) {
    const what = `${method} ${path}`
    const { operationId, summary, description, responses, requestBody, security } = operation
    t.match({ operationId, summary, description }, { operationId: /^[a-z][a-zA-Z]+$/, summary: /^.{4,}[^.]$/, description: /^.{8,}\.$/s }, what)
    t.ok(operation.tags.length === 1 && tags.includes(operation.tags[0]), what)

    const isPublic = PUBLIC.has(`${method.toUpperCase()} ${path}`)
    t.same(security, isPublic ? [] : [{ bearer: [] }], what)
    if (!isPublic) t.ok(responses[401], `${what} 401`)
    t.ok(Object.keys(responses).some((status) => status.startsWith('2')) && responses[429] && responses[500] && responses[503], what)

    for (const [type, { schema, example }] of Object.entries<Json>(requestBody?.content ?? {})) {
      t.match(schema, { type: 'object', additionalProperties: false }, `${what} ${type}`)
      isValid(schema, example, `${what} ${type}`)
    }
    for (const [status, { description, content = {} }] of Object.entries<Json>(responses)) {
      t.match(description, /\w/, `${what} ${status}`)
      t.equal(Object.keys(content).length, ['204', '304'].includes(status) ? 0 : 1, `${what} ${status}`)
      for (const [type, { schema, example, examples = { example: { value: example } } }] of Object.entries<Json>(content)) {
        if (type !== 'application/problem+json') continue
        for (const { value } of Object.values<Json>(examples)) {
          isValid(schema, value, `${what} ${status}`)
          t.ok(CODES.includes(value.code) && value.status === Number(status), `${what} ${status} ${value.code}`)
        }
      }
    }
  }
  for (const url of ['/auth/login', '/auth/register', '/auth/refresh']) {
    t.same(Object.keys(document.paths[url].post.requestBody.content), ['application/json', 'application/x-www-form-urlencoded'], url)
  }
})

import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { test } from 'tap'
import { CODES } from '../schemas/common.ts'
import { breakingChanges } from './breaking-changes.ts'
import { at, contractOf, resolve, type Json } from './contract.ts'
import { build } from './helper.ts'
import { run } from './processes.ts'
import { PUBLIC } from './public-routes.ts'

const root = join(import.meta.dirname, '..')

const operationsOf = ({ paths }: Json) => Object.entries<Json>(paths).flatMap(([path, item]) => Object.entries<Json>(item).map(([method, operation]) => ({ path, method, operation })))

/** Every object in a document, itself included. */
function * objectsOf (value: unknown): Generator<Json> {
  if (typeof value !== 'object' || value === null) return
  yield value
  for (const part of Object.values(value)) yield * objectsOf(part)
}

const OPERATORS = /^\/(metrics|alerts)/
// That all answers with a status have; the test of the contract is whether they do.
const HEADERS: Record<string, string> = { 201: 'Location', 304: 'ETag', 401: 'WWW-Authenticate', 429: 'Retry-After', 503: 'Retry-After' }
// Alertmanager's body, to which its later versions may add.
const OPEN = '/alerts/webhook'

test('its schemas are such, which the service takes for granted when it starts', async (t) => {
  const app = await build(t)
  const document: Json = (await app.inject('/docs/json')).json()
  const ajv = new Ajv2020({ strict: false })
  const schemas = [...Object.values<Json>(document.components.schemas), ...[...objectsOf(document)].flatMap(({ schema }) => schema ?? [])]
  t.ok(schemas.length > 50)
  for (const schema of schemas) t.ok(ajv.validateSchema(schema), JSON.stringify([schema, ajv.errors]))
})

test('the document is OpenAPI 3.1, and whole', async (t) => {
  const app = await build(t)
  const document: Json = (await app.inject('/docs/json')).json()
  const { valid, errors } = await new Validator().validate(structuredClone(document))
  t.ok(valid, JSON.stringify(errors))
  t.match(document, { openapi: /^3\.1\.\d$/, info: { title: 'microts', version: app.release, license: { name: 'MIT' } }, components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } } })

  for (const { $ref } of objectsOf(document)) {
    if ($ref !== undefined) t.type(at(document, $ref.slice(1)), 'object', $ref)
  }
  const operations = operationsOf(document)
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, ids.length, 'no operationId twice')
  for (const { path, operation: { parameters = [] } } of operations) {
    const inPath = parameters.filter((parameter: Json) => parameter.in === 'path')
    t.same(inPath.map(({ name }: Json) => `{${name}}`).sort(), [...path.matchAll(/\{\w+\}/g)].map(([name]) => name).sort(), path)
    t.ok(parameters.every((parameter: Json) => parameter.schema && parameter.description && (parameter.in === 'path') === parameter.required), path)
  }
})

test('every operation says what it is, and all that it answers', async (t) => {
  const app = await build(t)
  const document: Json = (await app.inject('/docs/json')).json()
  const tags = document.tags.map(({ name }: Json) => name)
  const contract = contractOf(document)
  const isValid = (schema: Json, example: unknown, what: string) => t.equal(contract.fault(schema, JSON.stringify(example)), undefined, what)

  for (const { path, method, operation } of operationsOf(document)) {
    const what = `${method} ${path}`
    const { operationId, summary, description, parameters = [], responses, requestBody, security } = operation
    t.match({ operationId, summary, description }, { operationId: /^[a-z][a-zA-Z]+$/, summary: /^.{4,}[^.]$/, description: /^.{8,}\.$/s }, what)
    t.ok(operation.tags.length === 1 && tags.includes(operation.tags[0]), what)

    const isPublic = PUBLIC.has(`${method.toUpperCase()} ${path}`)
    const scheme = OPERATORS.test(path) ? 'operator' : 'bearer'
    t.same(security, isPublic ? [] : [{ [scheme]: [] }], what)
    if (!isPublic) t.ok(responses[401], `${what} 401`)
    t.ok(Object.keys(responses).some((status) => status.startsWith('2')) && responses[429] && responses[500] && responses[503], what)

    for (const [type, { schema, example }] of Object.entries<Json>(requestBody?.content ?? {})) {
      t.match(resolve(document, schema), { type: 'object', additionalProperties: path === OPEN }, `${what} ${type}`)
      isValid(schema, example, `${what} ${type}`)
    }
    for (const [status, response] of Object.entries<Json>(responses)) {
      const { description, headers = {}, content = {} } = resolve(document, response)
      t.match(description, /\w/, `${what} ${status}`)
      const header = status === '200' && parameters.some(({ name }: Json) => name === 'if-none-match') ? 'ETag' : HEADERS[status]
      if (header) t.ok(headers[header], `${what} ${status} ${header}`)
      t.equal(Object.keys(content).length > 0, !['204', '304'].includes(status), `${what} ${status}`)
      for (const [type, { schema, example, examples = { example: { value: example } } }] of Object.entries<Json>(content)) {
        if (type !== 'application/problem+json') continue
        for (const { value } of Object.values<Json>(examples).map((example) => resolve(document, example))) {
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

test('the committed document is the one that is served', async (t) => {
  const app = await build(t)
  const served: Json = (await app.inject('/docs/json')).json()
  const committed = readFileSync(join(root, 'deploy/openapi.json'), 'utf8')
  t.same(breakingChanges(JSON.parse(committed), served), [], 'what breaks clients')
  t.strictSame(served, JSON.parse(committed), 'a change is looked at: write it with `npm run openapi`, and commit it')

  const written = join(mkdtempSync(join(tmpdir(), 'openapi-')), 'openapi.json')
  t.match(await run(t, 'deploy/openapi.ts', ['--help']), { code: 0, stdout: /^Usage:/, stderr: '' })
  t.match(await run(t, 'deploy/openapi.ts', ['--wrong']), { code: 2, stdout: '', stderr: /^Usage:/ })
  t.match(await run(t, 'deploy/openapi.ts', [written]), { code: 0, stderr: '' })
  t.equal(readFileSync(written, 'utf8'), committed, 'which is what the script writes')
})

test('what breaks a client is named', async (t) => {
  const app = await build(t)
  const document: Json = (await app.inject('/docs/json')).json()
  const table: [change: (now: Json) => unknown, ...named: (string | RegExp)[]][] = [
    [() => {}],
    [(now) => { delete now.paths['/me'].patch }, 'PATCH /me is gone'],
    [(now) => { delete now.paths['/me/sessions/{id}'] }, 'DELETE /me/sessions/{id} is gone'],
    [(now) => { now.paths['/me'].get.operationId = 'whoAmI' }, 'GET /me is now called whoAmI'],
    [(now) => { now.paths['/status'].get.security = [{ bearer: [] }] }, 'GET /status wants a token now'],
    [(now) => { delete now.paths['/auth/register'].post.responses[409] }, 'POST /auth/register 409 is gone'],
    [(now) => { delete now.components.responses.TooManyRequests.headers['Retry-After'] }, /429 header Retry-After is gone$/],
    [(now) => { now.paths['/me'].get.responses[202] = { description: 'Later' } }, 'GET /me 202 is new, and no failure'],
    [(now) => { now.paths['/me'].get.responses[418] = { description: 'A failure more' } }],
    [(now) => { now.paths['/me'].get.parameters[0].required = true }, 'GET /me header parameter if-match is required now'],
    [(now) => { now.paths['/me'].get.parameters = [] }, 'GET /me header parameter if-none-match is gone'],
    [(now) => { now.paths['/me/sessions'].delete.parameters[0].schema.type = 'integer' }, 'DELETE /me/sessions query parameter all: boolean is not taken any more'],
    [(now) => { delete now.paths['/auth/login'].post.requestBody.content['application/json'] }, 'POST /auth/login body is no application/json any more'],
    [(now) => { now.paths['/auth/logout'].post.requestBody = { required: true, content: {} } }, 'POST /auth/logout wants a body now'],
    [(now) => { delete now.components.schemas.User.properties.displayName }, /^POST \/auth\/register 201\/user\/displayName is gone$/, /^GET \/me 200\/user\/displayName is gone$/],
    [(now) => { now.components.schemas.User.required.pop() }, /^GET \/me 200\/user\/updatedAt may be missing now$/],
    [(now) => { now.components.schemas.User.properties.email.type = ['string', 'null'] }, /^GET \/me 200\/user\/email: null is new$/],
    [(now) => { now.components.schemas.User.properties.roles = { type: 'array' } }],
    [(now) => { delete now.components.schemas.Session.properties.ip }, 'GET /me/sessions 200/sessions/*/ip is gone'],
    [(now) => { now.components.schemas.Health.properties.status.enum = ['fine'] }, 'GET /health 200/status: "fine" is new'],
    [(now) => { now.components.schemas.Problem.properties.code.enum.push('NEW') }, /^GET \/me 401\/code: "NEW" is new$/],
    [(now) => { now.components.schemas.Registration.required.push('displayName') }, /^POST \/auth\/register body\/displayName is required now$/],
    [(now) => { now.components.schemas.Credentials.properties.password.enum = ['x'] }, /^POST \/auth\/login body\/password: "any value" is not taken any more$/],
    [(now) => { now.components.schemas.ProfileChange.properties.displayName.maxLength = 50 }, 'PATCH /me body/displayName: maxLength takes less'],
    [(now) => { now.components.schemas.ProfileChange.properties.displayName.minLength = 2 }, 'PATCH /me body/displayName: minLength takes less'],
    [(now) => { now.components.schemas.Refreshing.properties.refreshToken.pattern = '^rt1' }, /^POST \/auth\/refresh body\/refreshToken: pattern takes less$/],
    [(now) => { now.components.schemas.ProfileChange.properties.displayName.maxLength = 200 }]
  ]
  for (const [change, ...named] of table) {
    const now = structuredClone(document)
    change(now)
    const changes = breakingChanges(document, now)
    for (const name of named) t.ok(changes.some((found) => typeof name === 'string' ? found === name : name.test(found)), `${name} in ${changes.slice(0, 9)}`)
    t.equal(changes.length > 0, named.length > 0, String(changes.slice(0, 9)))
  }
})

import { randomBytes } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import * as errors from '../plugins/errors.ts'
import { CODES } from '../schemas/common.ts'
import { build, signUp } from './helper.ts'
import { isProblem } from './problem.ts'
import { PUBLIC } from './public-routes.ts'
import type { FastifyInstance } from 'fastify'

const UUID = '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11'
const root = join(import.meta.dirname, '..')
const pathOf = (url: string) => url.replace(/:\w+/g, UUID).replace('*', 'static/swagger-ui.css')
const call = (app: FastifyInstance, method: string, url: string, headers = {}) => app.inject({ method: method as 'GET', url: pathOf(url), headers })

/** Every URL with the methods that it says it has. */
async function routesOf (app: FastifyInstance) {
  return Promise.all([...app.urls].map(async (url) => {
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
  const app = await build(t, { OPS_TOKEN: randomBytes(48).toString('base64url') })
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
    t.equal(options.headers['accept-patch'], methods.includes('PATCH') ? 'application/json' : undefined, url)
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
    t.equal(answer.statusCode, 404, `${method} /nothing`)
  }
})

test('every route is documented, and nothing else', async (t) => {
  const app = await build(t)
  const routes = (await routesOf(app)).filter(({ url }) => !url.startsWith('/docs'))
    .flatMap(({ url, methods }) => methods.filter((method) => method !== 'HEAD').map((method) => `${method} ${url}`))
  const { paths } = await app.openapi()
  const documented = Object.entries(paths!).flatMap(([path, item = {}]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`))
  t.same(documented.sort(), routes.sort())
})

test('HEAD is GET without its body', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  const lasting = ({ date, 'x-request-id': id, 'x-correlation-id': correlationId, ratelimit, 'content-length': length, ...rest }: Record<string, unknown>) => rest
  for (const { url } of (await routesOf(app)).filter(({ methods }) => methods.includes('GET'))) {
    const [get, headed] = [await call(app, 'GET', url, headers), await call(app, 'HEAD', url, headers)]
    t.hasStrict(headed, { statusCode: get.statusCode, body: '' }, url)
    t.same(lasting(headed.headers), lasting(get.headers), url)
    if (!['/status', '/me/sessions', '/metrics'].includes(url)) t.equal(headed.headers['content-length'], get.headers['content-length'], url)
  }
})

// It ends the work for a client that has left, who is sent nothing.
const NOBODYS = 'CLIENT_LEFT'

test('every code is known, and made in one place', async (t) => {
  const classes = Object.values(errors).filter((value) => typeof value === 'function' && value.prototype instanceof Error)
  t.same(classes.map((Refusal) => Reflect.construct(Refusal, ['']).code).sort(), [...CODES, NOBODYS].sort())
  t.equal(new Set(CODES).size, CODES.length)
  for (const code of CODES) t.match(code, /^[A-Z]+(_[A-Z]+)*$/)
  const elsewhere = globSync('{plugins,routes,schemas}/**/*.ts', { cwd: root })
    .filter((file) => file !== join('plugins', 'errors.ts') && /\bcreateError\b|new Error\(.*statusCode/.test(readFileSync(join(root, file), 'utf8')))
  t.same(elsewhere, [])
})

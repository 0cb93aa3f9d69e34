import { test } from 'tap'
import { build, PASSWORD, post, signUp } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'
import type { FastifyInstance, InjectOptions } from 'fastify'

const ORIGINS = ['https://app.example', 'http://localhost:5173']
const CORS = { ALLOWED_ORIGINS: ORIGINS.join(', ') }
const corsHeaders = (headers: object) => Object.keys(headers).filter((name) => name.startsWith('access-control-'))

test('every answer has the headers that protect it', async (t) => {
  const app = await build(t, CORS)
  const { headers } = await signUp(app)
  const { headers: { etag } } = await app.inject({ url: '/me', headers })
  const { send } = await wire(app)
  const answers: Record<string, { statusCode: number, headers: object }> = {
    200: await app.inject('/health'),
    201: await post(app, '/auth/register', { email: 'ada@example.com', password: PASSWORD }),
    204: await app.inject({ method: 'DELETE', url: '/me/sessions', headers }),
    304: await app.inject({ url: '/me', headers: { ...headers, 'if-none-match': etag } }),
    400: await post(app, '/auth/login', {}),
    401: await app.inject('/me'),
    404: await app.inject('/nothing'),
    405: await app.inject({ method: 'POST', url: '/health' }),
    413: await post(app, '/auth/login', { email: 'x'.repeat(10_240) }),
    414: await app.inject(`/me/sessions/${'x'.repeat(101)}`),
    431: await send(head('GET /', `X-A: ${'x'.repeat(17_000)}`))
  }
  const documents = { document: await app.inject('/docs/json'), keys: await app.inject('/.well-known/jwks.json'), nothing: await app.inject('/docs/static/nothing') }
  for (const [name, { statusCode, headers }] of Object.entries({ ...answers, ...documents })) {
    if (Number(name)) t.equal(statusCode, Number(name))
    t.match(headers, {
      'content-security-policy': "default-src 'none';frame-ancestors 'none'",
      'strict-transport-security': 'max-age=63072000; includeSubDomains',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'x-frame-options': 'DENY',
      server: undefined,
      'x-powered-by': undefined
    }, name)
  }
  t.ok(Object.isFrozen(app.securityHeaders))
})

test('nothing personal is kept by a cache that others share', async (t) => {
  const app = await build(t)
  const { email, headers, refreshToken } = await signUp(app)
  const ask = async (request: InjectOptions) => (await app.inject({ headers, ...request })).headers
  const etag = (await ask({ url: '/me' })).etag as string
  t.match(etag, /^"[\w-]+"$/)

  const table: [request: InjectOptions, cacheControl: string][] = [
    [{ method: 'POST', url: '/auth/register', payload: { email: 'grace@example.com', password: PASSWORD } }, 'no-store'],
    [{ method: 'POST', url: '/auth/login', payload: { email, password: PASSWORD } }, 'no-store'],
    [{ method: 'POST', url: '/auth/refresh', payload: { refreshToken } }, 'no-store'],
    [{ url: '/me' }, 'private, no-cache'],
    [{ url: '/me', headers: { ...headers, 'if-none-match': etag } }, 'private, no-cache'],
    [{ method: 'PATCH', url: '/me', payload: { displayName: 'Ada' } }, 'private, no-cache'],
    [{ url: '/me', headers: {} }, 'no-store'],
    [{ url: '/me', headers: { 'if-none-match': etag } }, 'no-store'],
    [{ method: 'PATCH', url: '/me', payload: {}, headers }, 'no-store'],
    [{ method: 'PATCH', url: '/me', payload: { displayName: 'Ada' }, headers: { ...headers, 'if-match': '"stale"' } }, 'no-store'],
    [{ url: '/me/sessions' }, 'no-store'],
    [{ method: 'DELETE', url: '/me/sessions' }, 'no-store'],
    [{ url: '/health' }, 'no-store'],
    [{ url: '/.well-known/jwks.json' }, 'public, max-age=300'],
    [{ method: 'POST', url: '/.well-known/jwks.json' }, 'no-store'],
    [{ url: '/nothing' }, 'no-store']
  ]
  for (const [request, cacheControl] of table) t.equal((await ask(request))['cache-control'], cacheControl, JSON.stringify(request))
  t.equal((await app.inject({ url: '/me', headers: { 'if-none-match': etag } })).statusCode, 401, 'no 304 before authorisation')
})

test('an origin that is listed may read every answer', async (t) => {
  const app = await build(t, { ...CORS, RATE_LIMIT_MAX: '20' })
  const { email, headers } = await signUp(app)
  const table: [status: number, request: InjectOptions][] = [
    [200, { url: '/health' }], [200, { url: '/me', headers }], [200, { method: 'POST', url: '/auth/login', payload: { email, password: PASSWORD } }],
    [400, { method: 'POST', url: '/auth/login', payload: {} }], [401, { url: '/me' }], [404, { url: '/nothing' }], [405, { method: 'PUT', url: '/me' }],
    [415, { method: 'POST', url: '/auth/login', payload: 'x', headers: { 'content-type': 'text/plain' } }]
  ]
  const isReadable = (answer: { headers: object }, origin: string, what: string) => t.hasStrict(answer.headers, {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'ETag, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, X-Correlation-Id',
    vary: 'Origin'
  }, what)
  for (const origin of ORIGINS) {
    for (const [status, request] of table) {
      const answer = await app.inject({ ...request, headers: { ...request.headers, origin } })
      t.equal(answer.statusCode, status)
      isReadable(answer, origin, JSON.stringify(request))
      t.notOk('access-control-allow-credentials' in answer.headers)
    }
  }
  const [origin = ''] = ORIGINS
  for (let i = 0; i < 20; i++) await app.inject({ url: '/nothing', headers: { origin } })
  const limited = await app.inject({ url: '/nothing', headers: { origin } })
  isProblem(t, limited, 429, 'RATE_LIMIT_EXCEEDED')
  isReadable(limited, origin, 'the limit')
})

test('no other origin may, however much it looks like one', async (t) => {
  const app = await build(t, CORS)
  const { headers } = await signUp(app)
  const others = [
    'null', '*', '', 'https://app.example.evil.example', 'https://evilapp.example', 'https://app.exampleX', 'https://xapp.example', 'https://sub.app.example', 'https://app.example:8443',
    'http://app.example', 'https://app.example/', 'https://APP.example', ' https://app.example', 'https://app.example https://evil.example', 'http://localhost', 'http://localhost:51730'
  ]
  for (const origin of others) {
    for (const method of ['GET', 'OPTIONS'] as const) {
      const answer = await app.inject({ method, url: '/me', headers: { ...headers, origin, 'access-control-request-method': 'GET' } })
      t.match(answer, { statusCode: method === 'GET' ? 200 : 204, headers: { 'access-control-allow-origin': undefined, vary: /\bOrigin\b/ } }, `${method} ${origin}`)
    }
  }
  t.match((await app.inject('/health')).headers, { 'access-control-allow-origin': undefined, vary: /\bOrigin\b/ }, 'an answer without an origin must not be stored for one with it')
})

const preflight = (app: FastifyInstance, url: string, origin = ORIGINS[0]) =>
  app.inject({ method: 'OPTIONS', url, headers: { origin, 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'authorization, if-match' } })

test('a preflight is answered before any guard, where there is something', async (t) => {
  const app = await build(t, CORS)
  for (const [url, allow] of [['/me', 'DELETE, GET, HEAD, OPTIONS, PATCH'], ['/auth/login', 'OPTIONS, POST'], ['/me/sessions/x', 'DELETE, OPTIONS']] as const) {
    const answer = await preflight(app, url)
    t.hasStrict(answer, { statusCode: 204, body: '' })
    t.match(answer.headers, {
      allow,
      'access-control-allow-origin': ORIGINS[0],
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': /Authorization, Content-Type, If-Match, If-None-Match/,
      'access-control-max-age': '600'
    })
    t.match(await app.inject({ method: 'OPTIONS', url }), { statusCode: 204, headers: { allow } }, 'an OPTIONS that is no preflight')
  }
  for (const url of ['/nothing', '/me/nothing', '/auth', '*']) isProblem(t, await preflight(app, url), 404, 'NOT_FOUND', url)
})

test('without origins there is no CORS', async (t) => {
  const app = await build(t)
  const { headers } = await signUp(app)
  for (const origin of [...ORIGINS, 'null', '*', '']) {
    for (const answer of [await app.inject({ url: '/me', headers: { ...headers, origin } }), await preflight(app, '/me', origin), await preflight(app, '/nothing', origin)]) {
      t.same(corsHeaders(answer.headers), [])
      t.equal(answer.headers.vary, undefined)
    }
  }
  t.match(await preflight(app, '/me'), { statusCode: 204, headers: { allow: 'DELETE, GET, HEAD, OPTIONS, PATCH' } })
  isProblem(t, await preflight(app, '/nothing'), 404, 'NOT_FOUND')
})

test('the page of the docs runs scripts of its own alone', async (t) => {
  const app = await build(t)
  for (const url of ['/docs', '/docs/']) {
    const { headers, body, statusCode } = await app.inject(url)
    t.equal(statusCode, 200)
    const policy = Object.fromEntries(String(headers['content-security-policy']).split('; ').map((directive) => directive.split(/ (.*)/s)))
    t.match(policy, { 'default-src': "'none'", 'script-src': "'self'", 'connect-src': "'self'", 'base-uri': "'none'", 'form-action': "'none'", 'frame-ancestors': "'none'" })
    t.notMatch(headers['content-security-policy'], /unsafe|upgrade-insecure|https?:|\*/)
    t.notMatch(body, /<script(?![^>]*\ssrc=)|\son\w+=|<style|\sstyle=|javascript:/)
    const files = [...body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => new URL(path, `http://localhost${url}`).pathname)
    t.ok(files.length >= 4)
    for (const file of files) t.match(await app.inject(file), { statusCode: 200, headers: { 'x-content-type-options': 'nosniff' } }, file)
  }
})

test('on the wire too each of them is there once', async (t) => {
  const { send } = await wire(await build(t, CORS))
  const { headers: { etag } } = await send(head('GET /docs'))
  const requests: [status: number, request: string][] = [
    [200, head('GET /health')], [200, head('HEAD /health')], [200, head('GET /docs')], [200, head('GET /status', 'Accept: text/html')], [304, head('GET /docs', `If-None-Match: ${etag}`)],
    [204, head('OPTIONS /health')], [400, head('GET /%', 'X-A: b')], [401, head('GET /me')], [404, head('GET /nothing')], [405, head('PUT /health')],
    [414, head(`GET /me/sessions/${'x'.repeat(101)}`)], [417, head('GET /health', 'Expect: tea')], [431, head('GET /', `X-A: ${'x'.repeat(17_000)}`)], [405, head('CONNECT localhost:80')]
  ]
  for (const [status, request] of requests) {
    const answer = await send(request)
    const what = request.slice(0, 50)
    // A string would match where it is found twice.
    t.hasStrict(answer, {
      statusCode: status,
      headers: {
        'cross-origin-resource-policy': 'same-origin',
        'strict-transport-security': 'max-age=63072000; includeSubDomains',
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'x-frame-options': 'DENY'
      }
    }, what)
    t.match(answer.headers, {
      'content-security-policy': /^default-src 'none';[^,]*frame-ancestors 'none'$/,
      'cache-control': /^no-(store|cache)$/,
      'x-request-id': /^[\da-f-]{36}$/
    }, what)
  }
})

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { performance } from 'node:perf_hooks'
import { Readable } from 'node:stream'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { test } from 'tap'
import { Deadline, type Signal } from '../../plugins/deadline.ts'
import { buildWith } from '../build-with.ts'
import { eventually } from '../eventually.ts'
import { post, signUp } from '../helper.ts'
import { createLog } from '../log.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'
import type { FastifyRequest } from 'fastify'

const LONGEST_MS = 300
// A timer counts from the turn in which it is set.
const CLOCK_MS = 20
const env = { REQUEST_TIMEOUT: String(LONGEST_MS) }
const logged = { ...env, LOG_LEVEL: 'info' }
const never = () => new Promise<never>(() => {})
const isOver = { code: 'SERVICE_UNAVAILABLE', statusCode: 503, reason: 'the time for an answer is over' }

test('who would wait for too long is told 503 when the time is over, whether there was a body or none', async (t) => {
  const log = createLog()
  const app = await buildWith(t, (app) => app.register(async (app) => {
    app.acceptForms()
    app.route({ method: ['GET', 'POST', 'PUT', 'DELETE'], url: '/slow', handler: never })
  }), logged, log)
  const { send } = await wire(app)
  const bodies: Record<string, string[]> = { json: ['Content-Type: application/json', 'Content-Length: 2'], form: ['Content-Type: application/x-www-form-urlencoded', 'Content-Length: 3'], none: [] }
  const requests = [
    head('GET /slow'), head('POST /slow', ...bodies.none!), head('DELETE /slow'), head('PUT /slow', ...bodies.json!) + '{}', head('POST /slow', ...bodies.json!) + '{}', head('POST /slow', ...bodies.form!) + 'a=b'
  ]
  await Promise.all(requests.map(async (request) => {
    const startedAt = performance.now()
    const answer = await send(request)
    const tookMs = performance.now() - startedAt
    isProblem(t, answer, 503, 'SERVICE_UNAVAILABLE', request.slice(0, 11))
    t.equal(answer.headers['retry-after'], '1')
    t.ok(tookMs >= LONGEST_MS - CLOCK_MS && tookMs < LONGEST_MS + 1000, `${Math.round(tookMs)} ms`)
  }))
  const lines = log.lines.filter(({ requestId }) => requestId)
  t.equal(lines.length, requests.length)
  for (const line of lines) t.match(line, { level: 40, msg: 'request declined', statusCode: 503, reason: isOver.reason, err: undefined })
})

test('a route may allow less time than REQUEST_TIMEOUT, and never gets more', async (t) => {
  for (const [timeout, longest, due] of [[50, 60_000, 50], [60_000, LONGEST_MS, LONGEST_MS]] as const) {
    const app = await buildWith(t, (app) => app.get('/slow', { config: { timeout } }, never), { REQUEST_TIMEOUT: String(longest) })
    const startedAt = performance.now()
    isProblem(t, await app.inject('/slow'), 503, 'SERVICE_UNAVAILABLE')
    const tookMs = performance.now() - startedAt
    t.ok(tookMs >= due - CLOCK_MS && tookMs < due + 1000, `${Math.round(tookMs)} ms`)
  }
})

test('what has a time of its own, or goes on without its client, says so', async (t) => {
  const configs = new Map<string | undefined, object>()
  const note = (message: unknown) => {
    const { routeOptions: { method, url, config } } = (message as { request: FastifyRequest }).request
    configs.set(`${method} ${url}`, config)
  }
  subscribe('tracing:fastify.request.handler:start', note)
  t.teardown(() => unsubscribe('tracing:fastify.request.handler:start', note))
  const app = await buildWith(t, () => {})
  const { headers, refreshToken } = await signUp(app)
  await post(app, '/auth/refresh', { refreshToken })
  for (const url of ['/me/sessions', '/me/sessions/01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11']) await app.inject({ method: 'DELETE', url, headers })
  await post(app, '/auth/logout', {}, headers)
  t.match(configs.get('POST /auth/refresh'), { timeout: 5000, outlivesClient: true })
  for (const route of ['POST /auth/logout', 'DELETE /me/sessions', 'DELETE /me/sessions/:id']) t.match(configs.get(route), { outlivesClient: true }, route)
})

test('all that is done for a request hears of the end in the same moment, and of its reason', async (t) => {
  const ended: [where: string, at: number, reason: unknown][] = []
  const listen = (where: string, signal: Signal | undefined) => {
    signal!.addEventListener('abort', () => ended.push([where, performance.now(), signal!.reason]))
  }
  const app = await buildWith(t, (app) => app.get('/slow', async (request) => {
    listen('the request', request.deadline)
    await nextTurn()
    await Promise.all([1, 2].map(async (n) => {
      await delay(1)
      listen(`below ${n}`, app.deadline())
    }))
    await never()
  }), env)
  t.equal(app.deadline(), undefined)
  await Promise.all([app.inject('/slow'), app.inject('/slow')])
  t.equal(ended.length, 6)
  for (const [where, at, reason] of ended) {
    t.match(reason, isOver)
    t.ok(Math.abs(at - ended.find(([, , other]) => other === reason)![1]) < 20, `${where} at ${Math.round(at)} ms`)
  }
})

test('what was already too late before the handler is not begun', async (t) => {
  let begun = 0
  const app = await buildWith(t, (app) => app.get('/late', { config: { timeout: 20 }, preHandler: async ({ deadline }) => { await eventually(() => deadline.aborted) } }, async () => begun++), env)
  isProblem(t, await app.inject('/late'), 503, 'SERVICE_UNAVAILABLE')
  t.equal(begun, 0)
})

test('a probe has none', async (t) => {
  const app = await buildWith(t, (app) => {
    const handler = async () => String(app.deadline())
    app.get('/probe', { config: { isProbe: true, timeout: 1 } }, handler)
    app.get('/other', handler)
  }, env)
  t.equal((await app.inject('/probe')).body, 'undefined')
  t.equal((await app.inject('/other')).body, '[object Object]')
})

test('it ends once, with the first reason, and tells who listens then', async (t) => {
  const deadline = new Deadline()
  const told: string[] = []
  const silenced = () => told.push('silenced')
  deadline.addEventListener('abort', () => told.push(String(deadline.reason)))
  deadline.addEventListener('abort', silenced)
  deadline.removeEventListener('abort', silenced)
  t.doesNotThrow(() => deadline.throwIfAborted())
  deadline.end(new Error('first'))
  deadline.end(new Error('second'))
  t.same(told, ['Error: first'])
  t.throws(() => deadline.throwIfAborted(), { message: 'first' })
})

test('an answer that is being sent is not cut', async (t) => {
  let signal: Signal | undefined
  const app = await buildWith(t, (app) => app.get('/long', async (request, reply) => {
    signal = request.deadline
    return reply.type('text/plain').send(Readable.from((async function * () {
      yield 'begun, '
      await delay(LONGEST_MS * 1.5)
      yield 'and ended'
    })()))
  }), env)
  const answer = await fetch(`http://localhost:${(await wire(app)).port}/long`)
  t.equal(await answer.text(), 'begun, and ended')
  t.match(signal, { aborted: false })
})

test('what fails late is told to the log once, what succeeds late or was refused to nobody', async (t) => {
  const log = createLog()
  const ends: Record<string, PromiseWithResolvers<unknown>> = { failure: Promise.withResolvers(), success: Promise.withResolvers(), refusal: Promise.withResolvers(), echo: Promise.withResolvers() }
  const reasons: unknown[] = []
  const requestLines = () => log.lines.filter(({ requestId }) => requestId)
  const app = await buildWith(t, (app) => app.get('/late/:how', async (request) => {
    reasons.push(await new Promise((resolve) => request.deadline.addEventListener('abort', () => resolve(request.deadline.reason))))
    return ends[(request.params as { how: string }).how]!.promise
  }), logged, log)
  await Promise.all(Object.keys(ends).map(async (how) => isProblem(t, await app.inject({ url: `/late/${how}`, headers: { 'x-request-id': how } }), 503, 'SERVICE_UNAVAILABLE', how)))
  t.equal(requestLines().length, 4)
  ends.success!.resolve({ nobody: 'reads this' })
  ends.refusal!.reject(Object.assign(new Error('no such thing'), { statusCode: 404 }))
  ends.echo!.reject(reasons[0])
  ends.failure!.reject(new Error('boom'))
  t.match(await log.line('failed after the request had ended'), { level: 50, requestId: 'failure', err: { message: 'boom' } })
  await nextTurn()
  t.equal(requestLines().length, 5)
})

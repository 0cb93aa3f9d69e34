import { createHook } from 'node:async_hooks'
import { test } from 'tap'
import { buildWith } from '../build-with.ts'
import { eventually } from '../eventually.ts'
import { isProblem } from '../problem.ts'
import { wire } from '../wire.ts'
import type { FastifyInstance } from 'fastify'

test('what a handler may answer else is answered as without a deadline', async (t) => {
  const app = await buildWith(t, addRoutes)
  for (const url of ['/value', '/promise', '/thenable', '/sent', '/returned', '/later', '/awaited']) t.match(await app.inject(url), { statusCode: 200, body: 'good' }, url)
  t.match(await app.inject('/nothing'), { statusCode: 200, body: '' })
  for (const url of ['/throws', '/rejects']) isProblem(t, await app.inject(url), 500, 'INTERNAL_SERVER_ERROR', url)
  t.match(await app.inject({ method: 'HEAD', url: '/value' }), { statusCode: 200, body: '', headers: { 'content-length': '4' } })
  isProblem(t, await app.inject('/nowhere'), 404, 'NOT_FOUND')
  isProblem(t, await app.inject({ method: 'PUT', url: '/health' }), 405, 'METHOD_NOT_ALLOWED')
})

test('a request leaves no timer behind', async (t) => {
  const alive = new Set<number>()
  const hook = createHook({ init (id, type) { if (type === 'Timeout') alive.add(id) }, destroy (id) { alive.delete(id) } }).enable()
  t.teardown(() => hook.disable())
  const app = await buildWith(t, addRoutes, { REQUEST_TIMEOUT: '50000' })
  const { port } = await wire(app)
  const ask = (path: string, method = 'GET') => fetch(`http://localhost:${port}${path}`, { method, headers: { connection: 'close' } }).then((answer) => answer.text())
  await ask('/value')
  const before = alive.size
  await Promise.all(Array.from({ length: 20 }, () => ['/value', '/later', '/throws', '/rejects', '/nothing', '/nowhere', '/health'].map((path) => ask(path))).flat())
  await ask('/health', 'PUT')
  await eventually(() => alive.size < before + 20, 5000)
})

function addRoutes (app: FastifyInstance, good = 'good') {
  app.get('/value', (request, reply) => { reply.send(good) })
  app.get('/promise', async () => good)
  app.get('/thenable', () => ({ then: (resolve: (value: string) => void) => resolve(good) }) as unknown as Promise<string>)
  app.get('/sent', async (request, reply) => { reply.send(good) })
  app.get('/returned', (request, reply) => reply.send(good))
  app.get('/later', (request, reply) => {
    setImmediate(() => reply.send(good))
    return reply
  })
  app.get('/awaited', async (request, reply) => {
    setImmediate(() => reply.send(good))
    return reply
  })
  app.get('/nothing', async () => {})
  app.get('/throws', () => { throw new Error('at once') })
  app.get('/rejects', async () => { throw new Error('later') })
}

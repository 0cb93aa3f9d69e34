import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { aborted } from '../aborted.ts'
import { buildWith } from '../build-with.ts'
import { eventually } from '../eventually.ts'
import { createLog } from '../log.ts'
import { wire } from '../wire.ts'
import type { FastifyRequest, RouteShorthandOptions } from 'fastify'

const LONGEST_MS = 300
const BODY = 'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n'
const START = { get: 'GET /work HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n', post: 'POST /work HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n' }

const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

/** A route that works until it is told to end, and whoever asks for it. */
async function start (t: Test, config: RouteShorthandOptions['config'] = {}, longestMs = 60_000) {
  const log = createLog()
  const begun = Promise.withResolvers<FastifyRequest>()
  const work = Promise.withResolvers<string>()
  const app = await buildWith(t, (app) => app.route({
    method: ['GET', 'POST'],
    url: '/work',
    config,
    handler: async (request) => {
      begun.resolve(request)
      return work.promise
    }
  }), { REQUEST_TIMEOUT: String(longestMs), LOG_LEVEL: 'info' }, log)
  const { port } = await wire(app)

  return {
    app,
    log,
    begun: begun.promise,
    work,
    linesOfMine: () => log.lines.filter(({ requestId }) => requestId === 'mine').map(({ level, msg, statusCode }) => [level, msg, statusCode]),
    ask (request: string) {
      const socket = connect(port).on('error', () => {})
      t.teardown(() => socket.destroy())
      socket.write(request)
      return socket
    }
  }
}

test('who reads nothing of a long answer is not waited for', async (t) => {
  const { app, ask, begun, work } = await start(t, {}, LONGEST_MS)
  const accepted = once(app.server, 'connection') as Promise<[Socket]>
  ask(`${START.get}\r\n`).pause()
  const [[socket]] = [await accepted, await begun]
  work.resolve('x'.repeat(20_000_000))
  await once(socket, 'close')
  t.ok(socket.destroyed)
})

const leaving: [what: string, request: string, how: 'destroy' | 'resetAndDestroy'][] = [
  ['a GET', `${START.get}\r\n`, 'resetAndDestroy'], ['a POST whose body was read', `${START.post}${BODY}{}`, 'resetAndDestroy'], ['one that says no more', `${START.post}${BODY}{}`, 'destroy']
]
for (const [what, request, leave] of leaving) {
  test(`whose client leaves ends, and that is no error: ${what}`, async (t) => {
    const { ask, begun, work, log, linesOfMine } = await start(t)
    const socket = ask(request)
    const { deadline } = await begun
    socket[leave]()
    await aborted(deadline)
    t.match(deadline.reason, { code: 'CLIENT_LEFT', statusCode: 499 })
    await log.line('the client left')
    work.reject(deadline.reason)
    await delay(0)
    t.same(linesOfMine(), [[30, 'the client left', 499]])
  })
}

test('who has the answer leaves without a trace', async (t) => {
  const { app, ask, begun, work, linesOfMine } = await start(t)
  const socket = ask(`${START.get}\r\n`)
  const { deadline, raw } = await begun
  work.resolve('done')
  await once(socket, 'data')
  socket.resetAndDestroy()
  await eventually(() => raw.socket.destroyed)
  t.equal(deadline.aborted, false)
  t.same(linesOfMine(), [[30, 'request', 200]])
  t.equal(app.deadline(), undefined)
})

test('who leaves before all of the request has come begins nothing', async (t) => {
  const { ask, begun, log, linesOfMine, app } = await start(t)
  const socket = ask(START.post + BODY)
  await once(app.server, 'request')
  socket.resetAndDestroy()
  await log.line('the client left')
  t.equal(await Promise.race([begun, delay(20, 'nothing')]), 'nothing')
  t.match(linesOfMine()[0], [30, 'the client left', 499])
})

test('what is to be done all the same goes on though its client has left', async (t) => {
  const { ask, begun, work, log, linesOfMine } = await start(t, { outlivesClient: true })
  const before = timers()
  const socket = ask(`${START.post}${BODY}{}`)
  const { deadline } = await begun
  socket.resetAndDestroy()
  await log.line('the client left')
  t.equal(deadline.aborted, false)
  work.resolve('done')
  await delay(0)
  t.same(linesOfMine(), [[30, 'the client left', 499]])
  t.equal(timers(), before, 'what would have ended it keeps no process')
})

test('but not for longer than any other', async (t) => {
  const { ask, begun, log, linesOfMine } = await start(t, { outlivesClient: true }, LONGEST_MS)
  const socket = ask(`${START.post}${BODY}{}`)
  const { deadline } = await begun
  socket.resetAndDestroy()
  await aborted(deadline)
  t.match(deadline.reason, { statusCode: 503, reason: 'the time for an answer is over' })
  await log.line('failed after the request had ended')
  t.same(linesOfMine(), [[30, 'the client left', 499], [50, 'failed after the request had ended', undefined]])
})

test('a body that comes too slowly is waited for as long as for an answer, and then the connection closes', async (t) => {
  const { ask, begun, linesOfMine } = await start(t, {}, LONGEST_MS)
  const startedAt = performance.now()
  const answer = await text(ask(`${START.post}${BODY}{`))
  const tookMs = performance.now() - startedAt
  t.match(answer, /^HTTP\/1.1 408 /)
  t.match(answer, /\r\nconnection: close\r\n/)
  t.match(JSON.parse(answer.split('\r\n\r\n')[1]!), { status: 408, code: 'REQUEST_TIMEOUT' })
  t.ok(tookMs >= LONGEST_MS - 2 && tookMs < LONGEST_MS + 1000, `${Math.round(tookMs)} ms`)
  t.equal(await Promise.race([begun, delay(20, 'nothing')]), 'nothing')
  t.same(linesOfMine(), [[30, 'request', 408]])
})

test('a body that nobody reads, and that does not come, keeps nothing from ending', async (t) => {
  const { ask, begun, work, linesOfMine } = await start(t, {}, LONGEST_MS)
  const answer = once(ask(`${START.get}${BODY}`), 'data')
  const { deadline } = await begun
  await eventually(() => deadline.aborted, LONGEST_MS + 1000)
  work.reject(deadline.reason)
  t.match(String(await answer), /^HTTP\/1.1 503 /)
  t.same(linesOfMine(), [[40, 'request declined', 503]])
})

import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'tap'
import { eventually } from './eventually.ts'
import { databaseUrl, PASSWORD, settings } from './helper.ts'
import { listening, preload, signalTwice, start } from './processes.ts'
import { startProxy } from './proxy.ts'
import type { Test } from 'tap'

type Answer = { status: number | undefined, connection: string | undefined, body: string }

const LOGINS = 60
const ACCOUNT = { email: 'stop@example.com', password: PASSWORD }
const env = { ...settings, LOG_LEVEL: 'info', PORT: '0' }
const LATER_MS = 600
const ROW = 'Key (email)=(ada@example.com) already exists.'
// How a test makes a mistake in a process that has none: by signals that nobody else uses.
const FAILING = preload(`
  process.on('SIGWINCH', () => { throw new Error('nobody caught this') });
  process.on('SIGURG', () => { Promise.reject(new Error('nobody caught this')) });
  process.on('SIGCONT', () => { Promise.reject() });
  process.on('SIGIO', () => { throw Object.assign(new Error('a row is twice'), { severity: 'ERROR', detail: '${ROW}' }) });`)

test('SIGTERM in a storm of logins: all are answered, new ones for a while too, and the end comes soon after', async (t) => {
  const delayMs = 600
  const { server, url, agent } = await ready(t, { SHUTDOWN_DELAY: String(delayMs), HASH_CONCURRENCY: '1', ARGON2_MEMORY: '19456', ARGON2_TIME: '3' })
  t.equal((await ask(url, '/auth/register', { body: ACCOUNT })).status, 201)
  const storm = Array.from({ length: LOGINS }, () => ask(url, '/auth/login', { agent, body: ACCOUNT }))
  const first = await Promise.race(storm)
  t.match(first, { status: 200, connection: 'keep-alive' })
  const stoppedAt = performance.now()
  server.child.kill('SIGTERM')

  const unreadyMs = await eventually(async () => (await ask(url, '/ready')).status === 503, delayMs)
  t.match(await ask(url, '/health'), { status: 200, connection: 'close' })
  t.match(await ask(url, '/auth/login', { body: ACCOUNT }), { status: 200, connection: 'close' }, 'which came after SIGTERM')
  const answers = await Promise.all(storm)
  const answeredMs = performance.now() - stoppedAt
  t.same(answers.filter(({ status }) => status !== 200), [], 'none failed')
  t.ok(answers.filter(({ connection }) => connection === 'close').length > LOGINS / 2)
  t.ok(answeredMs > delayMs, 'some were answered after it stopped listening')
  t.match(await server.ended, { code: 0, signal: null, stderr: '' })
  const endedMs = performance.now() - stoppedAt
  t.ok(endedMs - answeredMs < 1500)
  t.notMatch(server.stdout, /"level":[456]0/, 'nothing to complain of')
  t.comment(`unready after ${unreadyMs} ms, all answered after ${Math.round(answeredMs)} ms, ended after ${Math.round(endedMs)} ms`)
})

test('connections that wait for nothing do not hold up the end', async (t) => {
  const { server, url, agent } = await ready(t)
  t.match(await ask(url, '/health', { agent }), { status: 200, connection: 'keep-alive' })
  const silent = await dial(t, url)
  const stoppedAt = performance.now()
  server.child.kill('SIGTERM')
  t.match(await server.ended, { code: 0 })

  const endedMs = Math.round(performance.now() - stoppedAt)
  t.ok(endedMs < 1500, `ended after ${endedMs} ms`)
  t.ok(silent.destroyed || silent.readableEnded || await once(silent, 'close'))
})

test('a request that never comes in wholly is cut when no answer may take longer', async (t) => {
  const { server, url } = await ready(t, { REQUEST_TIMEOUT: '1000' })
  for (const part of ['POST /auth/login HTTP/1.1\r\nhost', 'POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{']) {
    (await dial(t, url)).write(part)
  }
  t.equal((await ask(url, '/health')).status, 200, 'which came after them')
  const stoppedAt = performance.now()
  server.child.kill('SIGTERM')
  t.match(await server.ended, { code: 0 })

  const endedMs = Math.round(performance.now() - stoppedAt)
  t.ok(endedMs >= 1000 && endedMs < 3000, `ended after ${endedMs} ms`)
})

test('a signal that comes while it still loads ends it', async (t) => {
  const eager = preload(`
    process.on('newListener', (name, listener) => {
      if (name === 'SIGTERM' && listener.name === 'bound exit') process.kill(process.pid, name)
    })`)
  const server = start(t, 'server.ts', [], env, eager)
  t.match(await server.ended, { code: 0, signal: null, stdout: '', stderr: '' })
})

test('a signal that comes twice at once, as from a terminal and from npm, is one', async (t) => {
  const { server } = await ready(t, { SHUTDOWN_DELAY: '500' })
  const stoppedAt = performance.now()
  await signalTwice(server, 'SIGINT')
  t.match(await server.ended, { code: 0, signal: null, stderr: '' })
  t.ok(performance.now() - stoppedAt > 500, 'it has drained')
  t.equal(server.stdout.match(/"signal":"SIGINT","msg":"stopping"/g)?.length, 1)
})

for (const signal of ['SIGHUP', 'SIGQUIT'] as const) {
  test(`${signal} stops it in order too`, async (t) => {
    const { server } = await ready(t)
    server.child.kill(signal)
    t.match(await server.ended, { code: 0, signal: null, stderr: '', stdout: `"signal":"${signal}","msg":"stopping"` })
  })
}

test('a second signal ends it at once', async (t) => {
  const { server, url } = await ready(t, { SHUTDOWN_DELAY: '5000' })
  server.child.kill('SIGTERM')
  await eventually(async () => (await ask(url, '/ready')).status === 503)
  await delay(LATER_MS)
  const secondAt = performance.now()
  server.child.kill('SIGINT')
  t.match(await server.ended, { code: 1, signal: null, stderr: '', stdout: 'one more signal, SIGINT: ending at once' })
  t.ok(performance.now() - secondAt < 3000)
})

for (const [signal, what] of [['SIGWINCH', 'an exception'], ['SIGURG', 'a rejection']] as const) {
  test(`${what} that nobody caught is logged and counted, and ends it with 1, in order`, async (t) => {
    const { server, url } = await ready(t, { SHUTDOWN_DELAY: '300' }, FAILING)
    server.child.kill(signal)
    await eventually(async () => (await ask(url, '/ready')).status === 503)
    t.match(await ask(url, '/health'), { status: 200, connection: 'close' })
    t.match(await (await fetch(`${url}/metrics`)).text(), /^microts_uncaught_errors_total 1$/m)

    t.match(await server.ended, { code: 1, signal: null })
    const fatal = server.stdout.split('\n').filter((line) => line.includes('"level":60'))
    t.equal(fatal.length, 1)
    t.match(JSON.parse(fatal[0]!), { err: { message: 'nobody caught this', stack: /data:text/ } })
  })
}

test('a rejection without a reason is an error too', async (t) => {
  const { server } = await ready(t, {}, FAILING)
  server.child.kill('SIGCONT')
  t.match(await server.ended, { code: 1, signal: null, stderr: '', stdout: /"level":60.*"stopping because of an error nobody caught"/ })
})

test('one more error while it stops ends it at once, and no row of it is told', async (t) => {
  const { server, url } = await ready(t, { SHUTDOWN_DELAY: '5000' }, FAILING)
  server.child.kill('SIGWINCH')
  await eventually(async () => (await ask(url, '/ready')).status === 503)
  const secondAt = performance.now()
  server.child.kill('SIGIO')
  t.match(await server.ended, { code: 1, signal: null, stderr: '', stdout: /"level":60.*"refused by PostgreSQL".*"one more error nobody caught: ending at once"/ })
  t.ok(performance.now() - secondAt < 3000)
  t.notMatch(server.stdout, ROW)
})

for (const [what, how, sentence] of [
  ['fails', `Promise.reject(Object.assign(new Error('a row is twice'), { severity: 'ERROR', detail: '${ROW}' }))`, /"refused by PostgreSQL".*"not stopped in order"/],
  ['takes too long', 'new Promise(() => {})', /"not stopped after 1000 ms: ending at once"/]
] as const) {
  test(`a stop that ${what} ends it with 1 and a line of the log, and no row is told`, async (t) => {
    const { server } = await ready(t, { REQUEST_TIMEOUT: '500', SHUTDOWN_TIMEOUT: '1000' }, preload(`
      import { subscribe } from 'node:diagnostics_channel'
      // That of the service is the one with its limit.
      subscribe('fastify.initialization', ({ fastify }) => { if (fastify.initialConfig.bodyLimit === 10240) fastify.addHook('onClose', () => ${how}) })`))
    server.child.kill('SIGTERM')
    t.match(await server.ended, { code: 1, signal: null, stderr: '', stdout: sentence })
    t.notMatch(server.stdout, ROW)
  })
}

for (const mode of ['refuse', 'swallow'] as const) {
  test(`it ends in order where its database is ${mode === 'refuse' ? 'away' : 'silent'}, from the start or later`, async (t) => {
    const proxy = await startProxy(t, databaseUrl, mode)
    const waiting = start(t, 'server.ts', [], { ...env, DATABASE_URL: proxy.url })
    await listening(waiting)
    await stops(t, waiting)
    await proxy.set('pass')
    const { server } = await ready(t, { DATABASE_URL: proxy.url })
    await proxy.set(mode)
    await stops(t, server)
  })
}

async function stops (t: Test, server: ReturnType<typeof start>) {
  const stoppedAt = performance.now()
  server.child.kill('SIGTERM')
  t.match(await server.ended, { code: 0, signal: null, stderr: '' })
  const endedMs = Math.round(performance.now() - stoppedAt)
  t.ok(endedMs < 4000, `ended after ${endedMs} ms`)
}

async function ready (t: Test, changes: Record<string, string> = {}, nodeArgs: string[] = []) {
  const server = start(t, 'server.ts', [], { ...env, ...changes }, nodeArgs)
  const url = await listening(server)
  await eventually(async () => (await ask(url, '/ready')).status === 200)
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  return { server, url, agent }
}

async function ask (url: string, path: string, { agent, body }: { agent?: Agent, body?: object } = {}): Promise<Answer> {
  const method = body ? 'POST' : 'GET'
  const asking = request(url + path, { agent: agent ?? new Agent({ keepAlive: true, timeout: 100 }), method, headers: body && { 'content-type': 'application/json' } })
  asking.end(body && JSON.stringify(body))
  const [response] = await once(asking, 'response') as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return { status: response.statusCode, connection: response.headers.connection, body: Buffer.concat(chunks).toString() }
}

async function dial (t: Test, url: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket.resume()
}

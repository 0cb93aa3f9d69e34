import { once } from 'node:events'
import { Agent, createServer, get, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import { test, type Test } from 'tap'
import { closing } from '../../plugins/http/closing.ts'

test('who connected while the loop was busy is answered as the port closes, and nobody after', async (t) => {
  const { port, closePort, client } = await serve(t)
  client.connect()
  client.send()
  await closePort()

  t.match(await client.outcome(), /^HTTP\/1.1 200 OK/)
  await t.rejects(fetch(`http://127.0.0.1:${port}`), { cause: { code: 'ECONNREFUSED' } })
})

test('a request that came in while the loop was busy is answered before a sweep', async (t) => {
  const { server, sweep, client } = await serve(t)
  client.connect()
  await once(server, 'connection')
  client.send()
  await sweep()

  t.match(await client.outcome(), /^HTTP\/1.1 200 OK/)
})

test('a connection that says nothing is swept away', async (t) => {
  const { server, sweep, client } = await serve(t)
  client.connect()
  await once(server, 'connection')
  await sweep()

  t.equal(await client.outcome(), 'nothing')
})

test('connections that are idle are closed before the port, so that nobody comes meanwhile', async (t) => {
  const { server, port, closePort } = await serve(t)
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const [response] = await once(get({ port, agent, path: '/kept' }), 'response') as [IncomingMessage]
  await once(response.resume(), 'end')
  const [socket] = await accepted
  const { close } = server
  let wasOpen: boolean | undefined
  server.close = function (...done) {
    wasOpen = !socket.destroyed
    return close.apply(this, done)
  }
  await closePort()

  t.equal(wasOpen, false)
})

test('an answer that was handed over and is not yet written is not cut, but by who says so', async (t) => {
  const big = Buffer.alloc(20_000_000)
  const server = createServer(({ url }, response) => response.end(url === '/small' ? 'ok' : big))
  const { closePort, sweep, cut } = closing(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const ask = async () => {
    const socket = connect(port, '127.0.0.1').on('error', () => {}).pause()
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await once(server, 'request')
    return socket
  }
  const [reader, other] = [await ask(), await ask()]
  const idle = connect(port, '127.0.0.1')
  idle.write('GET /small HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(idle, 'data')
  const gone = once(idle, 'close')
  await closePort()
  await gone
  await sweep()
  let bytes = 0
  reader.on('data', ({ length }) => { bytes += length }).resume()
  await once(reader, 'end')
  t.ok(bytes > big.length)
  const closed = once(server, 'close')
  cut()
  await closed
  other.destroy()
})

test('a loop that is always busy keeps the port open for a second at most', async (t) => {
  const { server, closePort } = await serve(t)
  const startedAt = performance.now()
  let busy = setImmediate(function burn () {
    const until = performance.now() + 5
    while (performance.now() < until);
    busy = setImmediate(burn)
  })
  await closePort()
  clearImmediate(busy)

  t.notOk(server.listening)
  t.ok(performance.now() - startedAt >= 1000)
})

/** A server, and a client in a thread of its own, which does what it is told while nothing else runs here. */
async function serve (t: Test) {
  const server = createServer(({ url }, response) => response.setHeader('connection', url === '/kept' ? 'keep-alive' : 'close').end('ok'))
  const close = closing(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as { port: number }
  const done = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(CLIENT, { eval: true, workerData: { port, done } })
  const outcome = once(worker, 'message')
  t.teardown(() => {
    server.close()
    return worker.terminate()
  })
  return { server, port, ...close, client: { connect: () => tell('connect'), send: () => tell('send'), outcome: async () => (await outcome)[0] as string } }

  function tell (step: string) {
    const before = Atomics.load(done, 0)
    worker.postMessage(step)
    Atomics.wait(done, 0, before)
  }
}

const CLIENT = `
  const { connect } = require('node:net')
  const { parentPort, workerData: { port, done } } = require('node:worker_threads')
  let socket
  let answer = ''
  const steps = {
    connect () {
      socket = connect(port, '127.0.0.1', tell)
      socket.on('data', (chunk) => { answer += chunk })
      socket.on('error', ({ code }) => { answer = code })
      socket.on('close', () => parentPort.postMessage(answer || 'nothing'))
    },
    send: () => socket.write('GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n', tell)
  }
  parentPort.on('message', (step) => steps[step]())

  function tell () {
    Atomics.add(done, 0, 1)
    Atomics.notify(done, 0)
  }`

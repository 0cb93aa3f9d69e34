import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { drawPort } from './port.ts'
import type { Test } from 'tap'

/**
 * What the way to a server is like. `refuse`: nobody listens and what was open is cut. `swallow`: connections open, nothing
 * answers, and what was sent arrives when the way is open again, as TCP would send it again. `reset`: all that connects is cut.
 */
export type Mode = 'pass' | 'refuse' | 'swallow' | 'delay' | 'reset'
export type Proxy = Awaited<ReturnType<typeof startProxy>>

// Below those of the buses of test/redis.ts.
const PORTS = { from: 12_000, count: 10_000 }

/** A TCP proxy before the server of this URL, on a free loopback port; gone when the test ends. */
export async function startProxy (t: Test, target: string, first: Mode = 'pass') {
  let upstreamUrl = new URL(target)
  const sockets = new Set<Socket>()
  let generation = 0      // of connections: those of an older one are forgotten
  let mode = first
  let delayMs = 0
  let opened = Promise.withResolvers<void>()
  let connections = 0
  let server: Server | undefined = await listenSomewhere(accept)
  const { port } = server.address() as { port: number }
  const url = Object.assign(new URL(target), { hostname: '127.0.0.1', port: String(port) }).href
  await set(first)
  t.teardown(() => set('refuse'))

  return {
    url,
    port,
    set,

    /** What is open stays open, and nothing passes on it any more, not even its end, as when a firewall has forgotten it. */
    forget () { generation++ },

    /** Leads to another server from now on; what was open is cut. */
    lead (to: string) {
      upstreamUrl = new URL(to)
      cut()
    },

    /** How many connections have been accepted so far. */
    get connections () { return connections }
  }

  async function set (next: Mode, ms = 0) {
    mode = next
    delayMs = ms
    opened.resolve()
    if (next === 'swallow') opened = Promise.withResolvers()
    if (next === 'refuse' || next === 'reset') cut()
    if (next === 'refuse' && server) await close()
    if (next !== 'refuse') server ??= await listen(port, accept)
  }

  function cut () {
    for (const socket of sockets) reset(socket)
  }

  async function close () {
    const closing = server
    server = undefined
    closing?.close()
    if (closing) await once(closing, 'close')
  }

  function accept (socket: Socket) {
    connections++
    if (mode === 'reset') {
      reset(socket.on('error', ignore))
      return
    }
    const own = generation
    const upstream = connect({ port: Number(upstreamUrl.port), host: upstreamUrl.hostname, allowHalfOpen: true })
    for (const end of [socket, upstream]) {
      sockets.add(end)
      end.on('error', ignore).once('end', () => { if (own === generation) end.end() }).once('close', () => sockets.delete(end))
    }
    Promise.all([pipeline(socket, gate(own), upstream), pipeline(upstream, gate(own), socket)]).catch(ignore)
  }

  function gate (own: number) {
    return new Transform({
      transform (chunk, encoding, done) {
        if (own === generation) pass().then(() => done(null, chunk), done)
      },
      flush (done) {
        if (own === generation) done()
      }
    })
  }

  async function pass () {
    await opened.promise
    if (mode === 'delay') await delay(delayMs)
  }
}

const ignore = () => {}

// Node refuses to reset a socket that is saying its good-bye (EINVAL), and then cannot end: the process goes round for ever as it exits.
function reset (socket: Socket) {
  const isLeaving = socket.writableEnded && !socket.writableFinished
  if (isLeaving) socket.destroy()
  else socket.resetAndDestroy()
}

async function listenSomewhere (accept: (socket: Socket) => void): Promise<Server> {
  return listen(drawPort(PORTS), accept).catch(() => listenSomewhere(accept))
}

async function listen (port: number, accept: (socket: Socket) => void) {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, accept).listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

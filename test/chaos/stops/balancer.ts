import { once } from 'node:events'
import { Agent, createServer, request, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import { pipeline } from 'node:stream/promises'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

type Replica = { origin: string, agent: Agent, isReady: boolean, polledAt: number }

const POLL_MS = 100
const PATIENCE_MS = 1000

/** Sends each request to the next replica that is ready, once: what fails there has failed. */
export async function startBalancer (t: Test) {
  const replicas = new Map<string, Replica>()
  let turn = 0
  const server = createServer(forward).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const timer = setInterval(() => replicas.forEach(poll), POLL_MS)
  t.teardown(() => {
    clearInterval(timer)
    replicas.forEach(({ origin }) => remove(origin))
    server.close().closeAllConnections()
  })

  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,

    add (origin: string) {
      replicas.set(origin, { origin, agent: new Agent({ keepAlive: true }), isReady: false, polledAt: 0 })
    },

    remove,

    get ready () { return [...replicas.values()].filter(({ isReady }) => isReady).length }
  }

  function remove (origin: string) {
    replicas.get(origin)?.agent.destroy()
    replicas.delete(origin)
  }

  async function poll (replica: Replica) {
    const askedAt = performance.now()
    const isReady = await fetch(`${replica.origin}/ready`, { signal: AbortSignal.timeout(PATIENCE_MS) }).then(({ ok }) => ok, () => false)
    // One that was asked before may answer after it.
    if (askedAt > replica.polledAt) Object.assign(replica, { isReady, polledAt: askedAt })
  }

  function forward (incoming: IncomingMessage, outgoing: ServerResponse) {
    const ready = [...replicas.values()].filter(({ isReady }) => isReady)
    const replica = ready[turn++ % ready.length]
    if (!replica) return fail(outgoing, 'no replica is ready')
    const { method, url, headers } = incoming
    const onward = request(replica.origin + url, { agent: replica.agent, method, headers: endToEnd(headers) })
    onward.on('error', (error) => fail(outgoing, error.message))
    pipeline(incoming, onward).catch(() => {})      // told above, also of what comes later
    onward.once('response', (answer) => {
      outgoing.writeHead(answer.statusCode!, endToEnd(answer.headers))
      pipeline(answer, outgoing).catch(() => outgoing.destroy())
    })
  }
}

function fail (outgoing: ServerResponse, reason: string) {
  if (outgoing.headersSent) outgoing.destroy()
  else outgoing.writeHead(502).end(JSON.stringify({ reason }))
}

// What is said of one connection alone (RFC 9110 section 7.6.1).
function endToEnd ({ connection, 'keep-alive': keepAlive, 'transfer-encoding': coding, ...headers }: IncomingHttpHeaders) {
  return headers
}

import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** In a turn of the event loop, from one check phase to the next, it looks once at all that came in; if it is this short, hardly anybody has come since. */
const SHORT_MS = 0.1
const PATIENCE_MS = 1000

/** How a server lets go of its clients without taking an answer from any. */
export function closing (server: Server) {
  const sockets = new Set<Socket>()
  let accepted = 0
  server.on('connection', (socket: Socket) => {
    accepted++
    sockets.add(socket.once('close', () => sockets.delete(socket)))
  })

  // Node takes a connection for idle as soon as its answer is handed over, written or not; it also closes those as it closes the port.
  const { closeIdleConnections } = server
  server.closeIdleConnections = () => {
    const writing = [...sockets].filter(({ writableLength }) => writableLength > 0)
    for (const socket of writing) socket.destroy = () => socket
    closeIdleConnections.call(server)
    for (const socket of writing) Reflect.deleteProperty(socket, 'destroy')
  }

  return {
    /**
     * Closes the port when nobody waits at it. The kernel takes connections before Node knows of them; as the port closes it resets those, with the
     * requests that came with them, and a proxy may not send a POST a second time then. What is refused it sends elsewhere.
     * Waits for a second at most. Idle connections go before, since that may take a while.
     */
    async closePort () {
      const giveUpAt = performance.now() + PATIENCE_MS
      await turn()
      for (let isQuiet = false; !isQuiet;) {
        server.closeIdleConnections()
        const [before, acceptedBefore] = [performance.now(), accepted]
        await turn()
        const now = performance.now()
        isQuiet = (accepted === acceptedBefore && now - before < SHORT_MS) || now > giveUpAt
      }
      server.close()
    },

    /**
     * Closes connections that wait for nothing; what has come in by now is read before. Browsers open some to have them ready, and Node does not take
     * one for idle before its first request.
     */
    async sweep () {
      await turn()
      await turn()
      server.closeIdleConnections()
      sockets.forEach((socket) => socket.bytesRead === 0 && socket.destroy())
    },

    /** Closes all there are, those too that are no longer Node's, since they asked for a tunnel. */
    cut () {
      sockets.forEach((socket) => socket.destroy())
    }
  }
}

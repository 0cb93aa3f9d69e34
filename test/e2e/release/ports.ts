import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { drawPort } from '../../port.ts'

// Below those of test/redis.ts and test/proxy.ts and the buses of clusters; there are none among them that fetch refuses.
const PORTS = { from: 7000, count: 3000 }

/** Free ports of the loopback, for those who must be known before they are there. */
export async function freePorts (count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = drawPort(PORTS)
    if (await isFree(port)) ports.push(port)
  }
  return ports
}

async function isFree (port: number) {
  const server = createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** Whether somebody listens there. */
export async function isOpen (port: number) {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

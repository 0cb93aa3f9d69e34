import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

type Range = { from: number, count: number }

// Below those of test/redis.ts and test/proxy.ts and the buses of clusters; there are none among them that fetch refuses.
const PORTS = { from: 7000, count: 3000 }

/**
 * A port that no other test of this run draws, not even while its owner does not listen; whether somebody else listens there is not known.
 * Ranges lie below the ports that the kernel hands out.
 */
export function drawPort ({ from, count }: Range): number {
  const port = from + Math.floor(Math.random() * count)
  return claim(port) ? port : drawPort({ from, count })
}

// All tests of a run share its folder, which is removed at its end.
function claim (port: number) {
  try {
    writeFileSync(join(tmpdir(), `port-${port}`), '', { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** A free port of the loopback, for who must be known before it is there. */
export async function freePort (): Promise<number> {
  const port = drawPort(PORTS)
  return await isFree(port) ? port : freePort()
}

/** Some of them. */
export const freePorts = (count: number) => Promise.all(Array.from({ length: count }, freePort))

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

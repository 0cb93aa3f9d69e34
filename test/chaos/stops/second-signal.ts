import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { ready } from '../../processes.ts'
import { createClient } from './client.ts'
import { createDatabase } from './database.ts'
import { ending, startServer } from './server.ts'
import type { Row } from '../row.ts'

const LATER_MS = 1000     // before, it would be the same signal

export const secondSignal: Row = {
  fault: 'a second signal while it drains',
  promise: 'it ends at once, with 1',
  async endure (t) {
    const database = await createDatabase(t)
    const server = startServer(t, database.url, { SHUTDOWN_DELAY: '20000' })
    const origin = await ready(server)
    const ask = createClient(t)
    server.child.kill('SIGTERM')
    await eventually(async () => (await ask(origin, { path: '/ready' })).status === 503)
    await delay(LATER_MS)
    const { code, seconds } = await ending(server, 'SIGINT')
    return { measured: `exit ${code} after ${Math.round(seconds * 1000)} ms`, isKept: code === 1 && seconds < 1 }
  }
}

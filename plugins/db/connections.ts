import { performance } from 'node:perf_hooks'
import { Cut } from './cut.ts'
import type { Pool, PoolClient } from 'pg'

/**
 * Takes connections from a pool and gives them back. When one broke, those that have been idle since before it was taken
 * are closed instead of used: a firewall that forgets one without a word forgets all, and each would cost a request the
 * whole time that a statement may take.
 */
export function createConnections (pool: Pick<Pool, 'connect'>) {
  const goodAt = new WeakMap<PoolClient, number>()
  const takenAt = new WeakMap<PoolClient, number>()
  let suspectUntil = -Infinity

  return {
    async take () {
      for (;;) {
        const client = await pool.connect()
        if ((goodAt.get(client) ?? Infinity) <= suspectUntil) {
          client.release(true)
          continue
        }
        const now = performance.now()
        takenAt.set(client, now)
        if (!goodAt.has(client)) goodAt.set(client, now)      // it is new
        return client
      }
    },

    /** Those that have been idle until now are not used any more. */
    suspectIdle () { suspectUntil = performance.now() },

    /** What was asked over it was answered. */
    giveBack (client: PoolClient) {
      goodAt.set(client, performance.now())
      client.release()
    },

    /** No rollback into a black hole: a broken one is closed, and PostgreSQL ends what it has not been told to commit when it is gone. One that was cut off says nothing of the others. */
    discard (client: PoolClient, error: Error) {
      if (!(error instanceof Cut)) suspectUntil = Math.max(suspectUntil, takenAt.get(client)!)
      client.release(error)
    }
  }
}

import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

/** That no connection of the pool is spoilt, and none too many. */
export async function isSound (t: Test, { db, pg: { pool }, config }: FastifyInstance) {
  for (let i = 0; i < 25; i++) t.same(await Promise.all([1, 2, 3, 4].map((n) => db.query('select $1::int as n', [n]))), [1, 2, 3, 4].map((n) => [{ n }]))
  await delay(0)
  t.equal(pool.idleCount, pool.totalCount)
  t.ok(pool.totalCount <= config.DB_POOL_SIZE)
  t.equal(pool.waitingCount, 0)
}

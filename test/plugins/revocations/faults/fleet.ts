import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../../eventually.ts'
import { build, databaseUrl, HURRIED } from '../../../helper.ts'
import { startProxy } from '../../../proxy.ts'
import type { Test } from 'tap'

export type Fleet = Awaited<ReturnType<typeof startFleet>>
export type Replica = Fleet['replicas'][number]
type Env = Record<string, string>

const STALE_MS = 900
const FLICKERS = 10
const FLICKER_MS = 60

/** Replicas of the real service, each with ways of its own to PostgreSQL and, where there is a single one, to Redis. */
export async function startFleet (t: Test, size: number, env: Env) {
  const replicas = await Promise.all(Array.from('ABC'.slice(0, size), (name) => startReplica(t, name, env)))
  return { replicas, a: replicas[0]!, b: replicas[1]! }
}

async function startReplica (t: Test, name: string, { REDIS_URL: url, ...env }: Env) {
  const database = await startProxy(t, databaseUrl)
  const redis = url ? await startProxy(t, url) : undefined
  const app = await build(t, { ...HURRIED, ...env, REDIS_URL: redis?.url, DATABASE_URL: database.url, DB_POOL_SIZE: '4', SESSION_LIMIT: '3' })
  await eventually(() => app.health.report().redis?.status !== 'degraded')
  let knowsSince = -Infinity
  let flickering = Promise.resolve()

  return {
    name,
    app,
    redis: redis!,

    /** Since when it has known all that PostgreSQL knew. */
    get knowsSince () { return knowsSince },

    /** Takes PostgreSQL from it, and waits until it trusts its memory no more. */
    async cutOff (...how: Parameters<typeof database.set>) {
      knowsSince = Infinity
      await database.set(...how)
      await eventually(() => app.revocations.age > STALE_MS)
    },

    async rejoin () {
      await database.set('pass')
      await eventually(() => app.revocations.isFresh())
      knowsSince = performance.now()
    },

    /** Cuts all that goes on with PostgreSQL again and again, at moments of no choice, while other things go on. */
    flicker () {
      flickering = cutAgainAndAgain()
    },

    /** When that is over. */
    calm: () => flickering,

    /** What its check of a session says, as a status. */
    async verdict (sessionId: string) {
      try {
        return await app.revocations.isRevoked(sessionId) ? 401 : 200
      } catch (error) {
        return (error as { statusCode: number }).statusCode
      }
    }
  }

  async function cutAgainAndAgain () {
    for (let i = 0; i < FLICKERS; i++) {
      await database.set('reset')
      await delay(Math.random() * FLICKER_MS)
      await database.set('pass')
      await delay(Math.random() * FLICKER_MS)
    }
  }
}

import { readdir, readFile } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../eventually.ts'
import { databaseUrl, settings } from '../helper.ts'
import { listening, start } from '../processes.ts'
import { startProxy, type Mode } from '../proxy.ts'
import { startRedis } from '../redis.ts'
import { failed, isGood } from './judge.ts'
import { startLoad } from './load/index.ts'
import type { Answer } from './client.ts'
import type { Query } from './load/losses.ts'
import type { Test } from 'tap'

export type World = Awaited<ReturnType<typeof startWorld>>
type Options = { env?: Record<string, string | undefined>, first?: Mode, target?: string, isDirect?: boolean, query?: Query }

const NORMAL_MS = 1000
const CALM_MS = 1000
const LONG_MS = 20_000
const WRITES = ['POST /auth/login', 'POST /auth/refresh', 'PATCH /me']

/** A server as an operator runs it, with its own ways to PostgreSQL and to a Redis of its own; direct ones cost no CPU of ours. */
export async function startService (t: Test, { env = {}, first = 'pass', target = databaseUrl, isDirect = false }: Options = {}) {
  const redisServer = await startRedis(t)
  const [database, redis] = await Promise.all([startProxy(t, target, first), startProxy(t, redisServer.url, first)])
  const server = start(t, 'server.ts', [], {
    ...settings,
    MIGRATE_ON_START: 'true',
    REQUEST_TIMEOUT: undefined,
    LOG_LEVEL: 'info',
    PORT: '0',
    DATABASE_URL: isDirect ? target : database.url,
    REDIS_URL: isDirect ? redisServer.url : redis.url,
    ...env
  })
  const address = await listening(server)

  return {
    database,
    redis,
    redisServer,
    address,
    server,

    /** Fulfilled when it has both. */
    whole: () => eventually(async () => {
      const { dependencies } = await (await fetch(`${address}/status`)).json() as any
      return dependencies.database.status === 'up' && dependencies.redis.status === 'up'
    }, LONG_MS),

    get isAlive () { return server.child.exitCode === null && server.child.signalCode === null },

    /** What the threads that hash have taken of the CPU, ms (proc(5)); 0 where the system does not say. */
    async hashCpuMs () {
      const tasks = `/proc/${server.child.pid}/task`
      const times = await Promise.all((await readdir(tasks).catch(() => [])).map(async (id) => {
        const [name, schedule] = await Promise.all([readFile(`${tasks}/${id}/comm`, 'utf8'), readFile(`${tasks}/${id}/schedstat`, 'utf8')])
        return name === 'libuv-worker\n' ? Number(schedule.split(' ')[0]) / 1e6 : 0
      }))
      return times.reduce((sum, ms) => sum + ms, 0)
    },

    /** What of it is in memory, MB; where the system does not say, nothing is known of it. */
    async memory () {
      const status = await readFile(`/proc/${server.child.pid}/status`, 'utf8').catch(() => '')
      return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? NaN) / 1024)
    }
  }
}

/** Such a server under load, at a time when all is well. */
export async function startWorld (t: Test, options: Options = {}) {
  const service = await startService(t, options)
  await service.whole()
  const load = await startLoad(t, service.address, options.query)
  const begunAt = performance.now()
  await delay(NORMAL_MS)

  return Object.assign(service, { load, begunAt, recovery })

  /** How long from the moment that it is well again until it was ready, all kinds of work were good, and nothing failed any more. */
  async function recovery (healedAt: number) {
    const { answers } = load
    const routes = ['GET /ready', ...WRITES]
    const firstGood = (route: string) => answers.find((answer) => answer.route === route && answer.sentAt >= healedAt && isGood(answer))
    const lastFailed = () => failed(answers).map(answeredAt).filter((at) => at >= healedAt)
    const isCalm = () => routes.every(firstGood) && Math.max(...lastFailed()) < performance.now() - CALM_MS
    const isBack = await eventually(isCalm, LONG_MS).then(() => true, () => false)
    const backMs = isBack ? Math.max(...routes.map((route) => answeredAt(firstGood(route)!)), ...lastFailed()) - healedAt : Infinity
    await load.stop()
    return { backMs, losses: await load.losses() }
  }
}

const answeredAt = ({ sentAt, ms }: Answer) => sentAt + ms

/** When /status said so first. */
export const saidAt = ({ load }: World, what: (status: any) => boolean, since: number) =>
  load.answers.find(({ route, sentAt, body }) => route === 'GET /status' && sentAt >= since && body && what(body))?.sentAt

import fp from 'fastify-plugin'
import type { Cluster, Redis } from 'ioredis'
import type { OnMessage } from './listener.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Redis as the other plugins see it; null where none is configured. */
    fastPath: FastPath | null
  }
}

/** The commands we use; a single server and a cluster both have them. */
export type Commands = Pick<Redis, 'del' | 'get' | 'mget' | 'publish' | 'set' | 'zrem' | 'zremrangebyscore'>
export type Argument = string | number
type Given<Names extends readonly string[]> = { [I in keyof Names]: Argument }

/** Lua in which keys and other arguments have names. */
export type Script<Keys extends readonly string[] = readonly string[], Args extends readonly string[] = readonly string[]> = {
  /** They must share one hash tag. */
  keys: Keys
  args?: Args
  /** What is done once for all calls of a turn, before them. */
  once?: string
  /** What is done for one call. */
  each: string
}

export interface FastPath {
  /** Rejects when Redis cannot answer within REDIS_COMMAND_TIMEOUT, for whatever reason: what needs it has something else to go by. */
  run: <Result>(use: (redis: Commands) => Promise<Result>) => Promise<Result>
  /** Sends what nobody waits for, even where the breaker would refuse it: what was silent may hear it yet. Fulfilled with whether it was answered. */
  tell: (use: (redis: Commands) => Promise<unknown>) => Promise<boolean>
  /**
   * A script, which is one atomic step. A call gives the keys, then the other arguments; it leaves at the end of the turn, and fails
   * with all others of this turn.
   */
  script: <const Keys extends readonly string[], const Args extends readonly string[] = []>(name: string, script: Script<Keys, Args>) =>
    <Result>(...args: [...Given<Keys>, ...Given<Args>]) => Promise<Result>
  /** Hears what is published on a channel, while there is a connection; to be called before the app is ready. */
  listen: (channel: string, onMessage: OnMessage) => void
}

type RedisError = Error & { code?: string, command?: { name: string } }

export default fp(async (app) => {
  const { config } = app
  if (!config.REDIS_URL && config.REDIS_CLUSTER_NODES.length === 0) {
    app.decorate('fastPath', null)
    return
  }
  // Only here: a start without Redis need not load its client.
  const { default: redis } = await import('@fastify/redis')
  const { createClient, followSlots } = await import('./client.ts')
  const { createListener } = await import('./listener.ts')
  const { createScripts } = await import('./scripts.ts')
  const client = createClient(config)
  const listener = createListener(config)
  let trouble: unknown
  let isAway = false
  client.on('error', note)
  client.on('node error', note)
  client.on('ready', warnOfEviction)
  // It waits for what says that it is not ready, and fails the boot when that never comes.
  await app.register(redis, { client: Object.create(client, { status: { value: 'ready' } }) })

  const breaker = app.breakers.create('redis', { isFailure: (error) => !isFull(error as Error) })
  client.on('ready', breaker.close)
  const inTime = <Result>(answer: Promise<Result>) => app.within(config.REDIS_COMMAND_TIMEOUT, answer, 'no answer from Redis')
  const run = async <Result>(use: (redis: Commands) => Promise<Result>, calls?: number) => breaker.run(() => inTime(use(client)), calls)
  app.decorate('fastPath', {
    run,
    tell: (use) => inTime(use(client)).then(() => true, () => false),
    script: createScripts({ client, run, gather: app.gather }),
    listen: listener.add
  })
  app.health.add('redis', check, { isOptional: true })

  let timer: NodeJS.Timeout | undefined
  app.addHook('onReady', async function connect () {
    client.connect().catch(() => {})      // it goes on trying
    timer = followSlots(client)
    listener.open()
  })
  app.addHook('onClose', async () => {
    clearInterval(timer)
    client.disconnect()
    await listener.close()
  })

  function note (error: RedisError) {
    // What is not from the server or the system only follows from it.
    if (error.name === 'ReplyError' || error.code) trouble = error
    app.log.debug({ err: error }, 'redis connection')
    // ioredis would go on in database 0, which may be somebody else's.
    if (error.command?.name === 'select') client.disconnect(true)
  }

  async function check () {
    try {
      await inTime(tryWriting(mastersOf(client)))
      if (isAway) breaker.close()
      isAway = false
    } catch (error) {
      isAway = true
      throw new Error((error as Error).message, { cause: trouble })
    }
  }

  async function warnOfEviction () {
    trouble = undefined
    const reports = await Promise.all(mastersOf(client).map((server) => server.info('memory'))).catch(() => [])
    if (reports.some(mayEvict)) app.log.warn('Redis may evict what revocation needs: set its maxmemory-policy to noeviction')
  }
}, { name: 'redis', dependencies: ['breaker', 'config', 'gather', 'health', 'within'] })

const mastersOf = (client: Redis | Cluster) => 'nodes' in client ? client.nodes('master') : [client]

// It is there, and still takes revocations, which an open breaker would hold up.
const isFull = ({ message }: Error) => message.includes('OOM command')

const mayEvict = (report: string) => !/^maxmemory:0\r?$/m.test(report) && !report.includes('maxmemory_policy:noeviction')

// A script that does not say that it only reads is refused where nothing may be written: full, a replica, without a disk (Redis 7, Script flags).
const MAY_WRITE = '#!lua\nreturn 1'

async function tryWriting (servers: Redis[]) {
  if (servers.length === 0) throw new Error('no node of the cluster is known')
  return Promise.all(servers.map((server) => server.eval(MAY_WRITE, 0)))
}

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { eventually } from './eventually.ts'
import { drawPort } from './port.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

export type RedisServer = Awaited<ReturnType<typeof startRedis>>
export type RedisCluster = Awaited<ReturnType<typeof startCluster>>

const program = process.env.TEST_REDIS_SERVER ?? 'redis-server'
const libraries = JSON.parse(process.env.TEST_REDIS_ENV ?? '{}')

// The ports of a cluster's bus are 10 000 higher.
const PORTS = { from: 12_000, count: 10_000 }
const SLOTS = 16_384
const NODE_TIMEOUT_MS = 1000
const START_TIMEOUT_MS = 30_000

/** A redis-server of its own on a free loopback port, which keeps nothing; gone when the test ends. */
export async function startRedis (t: Test, args: string[] = []) {
  const folder = await mkdtemp(join(tmpdir(), 'redis-'))
  let server = await launch(folder, args)
  const { port } = server
  const admin = new Redis({ port, lazyConnect: true, password: args[args.indexOf('--requirepass') + 1], retryStrategy: () => 20, maxRetriesPerRequest: null })
  admin.on('error', () => {})
  t.teardown(async () => {
    admin.disconnect()
    await kill()
    await rm(folder, { recursive: true, force: true })
  })

  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    /** Speaks to it past the service. */
    admin,
    kill,
    /** Starts it anew on its port, empty. */
    async restart () {
      await kill()
      server = await launchOn(port, folder, args)
    },
    get pid () { return server.child.pid! }
  }

  async function kill (signal: NodeJS.Signals = 'SIGKILL') {
    if (server.child.exitCode !== null || server.child.signalCode !== null) return
    server.child.kill('SIGCONT')
    server.child.kill(signal)
    await once(server.child, 'exit')
    // What it has forked, to save for a replica, may live longer, and so would ours while it can hear of it.
    server.child.stdout!.destroy()
  }
}

/** Three masters, a replica of each: what a feature that uses Redis must work with too. */
export async function startCluster (t: Test, args: string[] = []) {
  const nodes = await Promise.all(Array.from({ length: 6 }, () => startRedis(t, [
    '--cluster-enabled', 'yes', '--cluster-node-timeout', String(NODE_TIMEOUT_MS), '--cluster-replica-validity-factor', '0', ...args
  ])))
  const masters = nodes.slice(0, 3)
  await Promise.all(masters.map(({ admin }, i) => admin.cluster('ADDSLOTS', ...slotsOf(i, masters.length))))
  await Promise.all(nodes.map(({ admin }, i) => admin.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)))
  await Promise.all(nodes.slice(1).map(({ port }) => nodes[0]!.admin.cluster('MEET', '127.0.0.1', port)))
  const ids = await Promise.all(masters.map(({ admin }) => admin.cluster('MYID')))
  await Promise.all(nodes.slice(3).map(({ admin }, i) => eventually(() => admin.cluster('REPLICATE', ids[i]!).then(() => true, () => false), START_TIMEOUT_MS)))
  await Promise.all(nodes.map(({ admin }) => eventually(() => isWhole(admin, masters.length), START_TIMEOUT_MS)))

  return {
    nodes,
    urls: nodes.map(({ port }) => `127.0.0.1:${port}`),

    /** The master that holds the slot of a key, or whoever is it now. */
    async masterOf (key: string) {
      const alive = nodes.filter(({ admin }) => admin.status === 'ready')
      const slot = await alive[0]!.admin.cluster('KEYSLOT', key)
      const slots = await alive[0]!.admin.cluster('SLOTS') as unknown as [from: number, to: number, master: [host: string, port: number]][]
      const [, , [, port]] = slots.find(([from, to]) => slot >= from && slot <= to)!
      return nodes.find((node) => node.port === port)!
    },

    /** All keys that the masters hold. */
    async keys () {
      const roles = await Promise.all(nodes.map(async ({ admin }) => ({ admin, role: (await admin.role())[0] })))
      return (await Promise.all(roles.filter(({ role }) => role === 'master').map(({ admin }) => admin.keys('*')))).flat()
    }
  }
}

/** How often a command was called, as Redis counts. */
export async function callsOf ({ admin }: Pick<RedisServer, 'admin'>, command: string) {
  return Number((await admin.info('commandstats')).match(new RegExp(`cmdstat_${command}:calls=(\\d+)`))?.[1] ?? 0)
}

/** Fulfilled when a replica and its Redis speak with each other. */
export const connected = ({ fastPath }: FastifyInstance) =>
  eventually(() => fastPath!.run((redis) => redis.get('any')).then(() => true, () => false))

const slotsOf = (i: number, of: number) => Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => Math.floor(slot * of / SLOTS) === i)

async function isWhole (admin: Redis, masters: number) {
  const info = await admin.cluster('INFO') as string
  const known = await admin.cluster('NODES') as string
  const replicas = known.split('\n').filter((line) => / (myself,)?slave /.test(line) && line.includes(' connected'))
  return info.includes('cluster_state:ok') && info.includes(`cluster_size:${masters}`) && replicas.length === masters
}

async function launch (folder: string, args: string[]): Promise<Awaited<ReturnType<typeof launchOn>>> {
  return launchOn(drawPort(PORTS), folder, args).catch((error) => {
    if (/in use/.test(error.message)) return launch(folder, args)
    throw error
  })
}

async function launchOn (port: number, folder: string, args: string[]) {
  const child = spawn(program, [
    '--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no', ...args
  ], { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, ...libraries } })
  await started(child)
  return { child, port }
}

async function started (child: ChildProcess) {
  let output = ''
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  child.stdout!.on('data', (chunk) => {
    output += chunk
    if (output.includes('Ready to accept connections')) resolve()
  })
  child.once('error', reject)
  child.once('close', () => reject(new Error(`redis-server has ended: ${output}`)))
  return promise
}

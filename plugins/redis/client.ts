import { isIP } from 'node:net'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { batchWrites } from './batches.ts'
import type { Config } from '../config/index.ts'

type Where = Pick<Config, 'REDIS_URL' | 'REDIS_CLUSTER_NODES'>

const SHORTEST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2000
const REDIRECTION_PAUSE_MS = 20
const SLOTS_EVERY_MS = 1000
const DEFAULT_PORT = 6379

// Nothing is queued and nothing sent again: who asks falls back on something else at once, and is told so at once.
const connection = {
  connectTimeout: 1000,
  socketTimeout: 3000,
  disconnectTimeout: 100,     // a good-bye that is not answered by then never is
  maxLoadingRetryTime: 500,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  connectionName: 'microts',
  // A master that has become a replica: where the name points to now is asked anew.
  reconnectOnError: ({ message }) => message.startsWith('READONLY')
} satisfies RedisOptions

/** The client of one Redis or of a cluster, which has not connected yet and goes on trying for ever once it has begun to. */
export function createClient (config: Where): Redis | Cluster {
  const nodes = nodesOf(config)
  if (config.REDIS_URL) {
    return new Redis({ ...connection, ...nodes[0], lazyConnect: true, enableOfflineQueue: false, retryStrategy: pauseMs })
  }
  const { username, password, tls } = nodes[0]!
  const cluster = new Cluster(nodes.map(({ host, port }) => ({ host, port })), {
    lazyConnect: true,
    enableOfflineQueue: false,
    scaleReads: 'master',      // a replica may not have heard yet
    redisOptions: { ...connection, username, password, ...tls && { tls: {} } },
    // A certificate is for a name, and ioredis would connect to what that was resolved to.
    ...tls && { dnsLookup: (host, done) => done(null, host) },
    clusterRetryStrategy: pauseMs,
    clusterNodeRetryStrategy: null,      // or it would ask for them for ever, and never again for those that were named
    retryDelayOnFailover: REDIRECTION_PAUSE_MS,
    retryDelayOnClusterDown: REDIRECTION_PAUSE_MS,
    retryDelayOnTryAgain: REDIRECTION_PAUSE_MS,
    slotsRefreshTimeout: connection.connectTimeout,
    slotsRefreshInterval: 0
  })
  cluster.on('+node', batchWrites)
  return cluster
}

/** Asks a cluster again and again who has which slots. ioredis does so too, but for ever when it is closed in the midst of it. */
export function followSlots (client: Redis | Cluster) {
  if (!('nodes' in client)) return undefined
  return setInterval(() => client.refreshSlotsCache(), SLOTS_EVERY_MS)
}

/** One connection to one of the nodes: to which one the attempt decides, so that each is tried in turn. */
export function connectTo (config: Where, attempt: number) {
  const nodes = nodesOf(config)
  return new Redis({ ...connection, ...nodes[attempt % nodes.length], lazyConnect: true, retryStrategy: null })
}

/** Exponential backoff with full jitter, so that replicas do not come back at the same time (AWS, Exponential Backoff and Jitter, 2015). */
export function pauseMs (attempt: number) {
  return SHORTEST_PAUSE_MS + Math.random() * Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS * 2 ** attempt)
}

// The credentials and the TLS of the first node of a cluster are those of all: a node is told of others by address alone.
function nodesOf ({ REDIS_URL: url, REDIS_CLUSTER_NODES: nodes }: Where) {
  const urls = (url ? [url] : nodes).map((node) => new URL(node.includes('://') ? node : `redis://${node}`))
  const { protocol, username, password, pathname } = urls[0]!
  return urls.map(({ hostname, port }) => {
    const host = hostname.replace(/^\[|\]$/g, '')
    return {
      host,
      port: Number(port || DEFAULT_PORT),
      ...username && { username: decodeURIComponent(username) },
      ...password && { password: decodeURIComponent(password) },
      ...protocol === 'rediss:' && { tls: isIP(host) ? {} : { servername: host } },
      db: Number(pathname.slice(1))
    }
  })
}

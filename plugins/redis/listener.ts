import { setTimeout as delay } from 'node:timers/promises'
import { connectTo, pauseMs } from './client.ts'
import type { Redis } from 'ioredis'
import type { Config } from '../config/index.ts'

export type OnMessage = (message: string) => void

const PING_EVERY_MS = 1000

/**
 * Hears what is published, over a connection of its own; any node of a cluster hears all. What is said while it is away is
 * missed: published words may only ever be quicker than another source, never the only one.
 */
export function createListener (config: Pick<Config, 'REDIS_URL' | 'REDIS_CLUSTER_NODES'>) {
  const channels = new Map<string, OnMessage>()
  const closing = new AbortController()
  let redis: Redis | undefined
  let following = Promise.resolve()

  return {
    add (channel: string, onMessage: OnMessage) {
      channels.set(channel, onMessage)
    },

    open () {
      if (channels.size > 0) following = follow()
    },

    async close () {
      closing.abort()
      redis?.disconnect()
      await following
    }
  }

  async function follow () {
    for (let attempt = 0, failures = 0; !closing.signal.aborted; attempt++) {
      redis = connectTo(config, attempt)
      redis.on('message', (channel, message) => channels.get(channel)?.(message))
      const hasHeard = await listen(redis)
      failures = hasHeard ? 0 : failures + 1
      await delay(pauseMs(failures), undefined, { signal: closing.signal }).catch(() => {})
    }
  }

  /** Fulfilled when the connection is lost: whether there was one. */
  async function listen (redis: Redis) {
    const ended = new Promise<void>((resolve) => redis.once('end', resolve))
    redis.on('error', () => {})
    try {
      await redis.connect()
      await redis.subscribe(...channels.keys())
    } catch {
      redis.disconnect()
      return false
    }
    // Or the silence of a host that is gone would go for that of the others.
    const timer = setInterval(() => redis.ping().catch(() => {}), PING_EVERY_MS)
    await ended
    clearInterval(timer)
    return true
  }
}

import { setTimeout as delay } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { createFeed } from './feed.ts'
import { createMarkers, type Markers } from './markers.ts'
import { createRevocations, KEEP_SECONDS } from './memory.ts'

declare module 'fastify' {
  interface FastifyInstance { revocations: ReturnType<typeof createRevocations> }
}

const ROUND_MS = 400
const NOT_MIGRATED = '42P01'

export default fp(async (app) => {
  const feed = createFeed(app.config, app.within)
  const markers = app.fastPath ? createMarkers(app.fastPath, KEEP_SECONDS) : undefined
  const revocations = createRevocations({ read: feed.read, markers, within: app.within })
  markers?.follow(revocations.remember)
  app.decorate('revocations', revocations)
  app.metrics.gauge({
    name: 'microts_revocation_feed_age_seconds',
    help: 'How old the knowledge of what is revoked is; none before it was read for the first time',
    collect () { this.set(revocations.age / 1000) }
  })
  app.purge.add({ table: 'revocations', first: '0', endedAt: 'at', keepSeconds: KEEP_SECONDS })
  app.health.add('database', async () => {
    if (!revocations.isLoaded) throw new Error('the revocation feed has not been read yet')
  })

  const stop = new AbortController()
  let running: Promise<unknown> | undefined
  let isGood = true
  let isKept = true
  app.addHook('onReady', async function follow () {
    running = Promise.all([
      repeat(readFeed, () => Math.max(ROUND_MS, revocations.pauseMs), stop.signal),
      markers && repeat(() => keep(markers), () => ROUND_MS, stop.signal)
    ])
  })
  app.addHook('onClose', async () => {
    stop.abort()
    feed.stop()
    await running
    await markers?.write().catch(() => {})      // what was revoked last
  })

  async function readFeed () {
    try {
      await revocations.refresh()
    } catch (error) {
      if (stop.signal.aborted || (error as { code?: string }).code === NOT_MIGRATED) return
      if (isGood) app.log.warn({ err: error }, 'the revocation feed cannot be read')
      isGood = false
      return
    }
    if (!isGood) app.log.info('the revocation feed is read again')
    isGood = true
  }

  async function keep (markers: Markers) {
    try {
      // First, since it asks for each shard, so that the breaker soon knows of a Redis that is away though nobody else asks.
      const shards = await restore(markers).finally(markers.write)
      if (shards) app.log.info({ shards }, 'the revocations are in Redis')
      if (shards !== undefined) isKept = true
    } catch (error) {
      // Of a Redis that is away the health check tells; one that is there may refuse INFO, scripts or writing.
      const isNews = isKept && app.health.report().redis?.status === 'up'
      app.log[isNews ? 'warn' : 'debug']({ err: error }, 'the revocations cannot be written to Redis')
      if (isNews) isKept = false
    }
  }

  // Before the first read nobody is let in anyway, and Redis may not be connected to yet, which the breaker should not hold against it.
  async function restore (markers: Markers) {
    return revocations.isLoaded ? markers.restore(readAll) : undefined
  }

  // Who does not know the latest would be kept waiting, and PostgreSQL asked more often than it should be while it is away.
  async function readAll () {
    return revocations.isFresh() ? revocations.readAll() : undefined
  }
}, { name: 'revocations', dependencies: ['config', 'health', 'metrics', 'purge', 'redis', 'within'] })

/** Does the work again and again, with a pause after each time. */
async function repeat (work: () => Promise<void>, pauseMs: () => number, signal: AbortSignal) {
  while (!signal.aborted) {
    await work()
    await delay(pauseMs(), undefined, { signal }).catch(() => {})
  }
}

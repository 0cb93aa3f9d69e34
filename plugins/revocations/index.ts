import fp from 'fastify-plugin'
import { createFeed } from './feed.ts'
import { createMarkers } from './markers.ts'
import { createRevocations, KEEP_SECONDS } from './memory.ts'

declare module 'fastify' {
  interface FastifyInstance { revocations: ReturnType<typeof createRevocations> }
}

const ROUND_MS = 400
const NOT_MIGRATED = '42P01'

export default fp(async (app) => {
  const feed = createFeed(app.config)
  const markers = app.fastPath ? createMarkers(app.fastPath, KEEP_SECONDS) : undefined
  const revocations = createRevocations({ read: feed.read, markers })
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

  const loops = [repeat(readFeed, () => Math.max(ROUND_MS, revocations.pauseMs)), repeat(keepMarkers, () => ROUND_MS)]
  let isGood = true
  let isKept = true
  let isClosing = false
  app.addHook('onReady', async function follow () { loops.forEach(({ start }) => start()) })
  app.addHook('onClose', async () => {
    isClosing = true
    feed.stop()
    await Promise.all(loops.map(({ stop }) => stop()))
    await markers?.write().catch(() => {})      // what was revoked last
  })

  async function readFeed () {
    try {
      await revocations.refresh()
    } catch (error) {
      if (isClosing || (error as { code?: string }).code === NOT_MIGRATED) return
      if (isGood) app.log.warn({ err: error }, 'the revocation feed cannot be read')
      isGood = false
      return
    }
    if (!isGood) app.log.info('the revocation feed is read again')
    isGood = true
  }

  async function keepMarkers () {
    try {
      // First, since it asks for each shard, so that the breaker soon knows of a Redis that is away though nobody else asks.
      const shards = await restore().finally(() => markers?.write())
      if (shards) app.log.info({ shards }, 'the revocations are in Redis')
      if (shards !== undefined) isKept = true
    } catch (error) {
      // Of a Redis that is away the health check tells; one that is there may refuse INFO, scripts or writing.
      const isNews = isKept && app.health.report().redis?.status === 'up'
      app.log[isNews ? 'warn' : 'debug']({ err: error }, 'the revocations cannot be written to Redis')
      if (isNews) isKept = false
    }
  }

  // Only who knows all may say that all is there: undefined where that is not known.
  async function restore () {
    return revocations.isFresh() ? markers?.restore(revocations.readAll) : undefined
  }
}, { name: 'revocations', dependencies: ['config', 'health', 'metrics', 'purge', 'redis'] })

/** Does the work again and again, with a pause after each time. */
function repeat (work: () => Promise<void>, pauseMs: () => number) {
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let isStopped = false

  return {
    start () { timer = setTimeout(round, 0) },

    async stop () {
      isStopped = true
      clearTimeout(timer)
      await running
    }
  }

  function round () {
    running = work().finally(() => { if (!isStopped) timer = setTimeout(round, pauseMs()) })
  }
}

import { performance } from 'node:perf_hooks'
import fp from 'fastify-plugin'
import { createFeed } from './feed.ts'
import { unavailable } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance { revocations: ReturnType<typeof createRevocations> }
}

/** The second source that other replicas write to at once: Redis, where there is one. */
export interface RevocationMarkers {
  publish: (sessionIds: string[]) => void
  has: (sessionId: string) => Promise<boolean>
}

type Sources = { read: () => Promise<string[]>, markers?: RevocationMarkers, now?: () => number }

const READ_EVERY_MS = 400
const STALE_AFTER_MS = 900
const JOIN_MS = 300
const PURGE_EVERY_MS = 60_000
const NOT_MIGRATED = '42P01'
/** No access token lives longer than an hour; the rest is for clocks and slow reads. */
export const KEEP_SECONDS = 3900

/**
 * The ids of all sessions revoked lately, in memory, so that the check of a session costs no I/O.
 * What is not in memory is alive only while the feed is fresh; otherwise the markers decide, or nobody does (503).
 */
export function createRevocations ({ read, markers, now = () => performance.now() }: Sources) {
  const revoked = new Map<string, number>()
  let readSentAt = -Infinity
  let reading: Promise<void> | undefined

  return {
    refresh,

    /** Whether the whole feed has been read at least once. */
    get isLoaded () { return readSentAt > -Infinity },

    /** How old what we know is, counted from before it was asked for, in ms. */
    get age () { return now() - readSentAt },

    /** Makes ids known here at once and to other replicas as soon as may be; call it after the commit. */
    announce (sessionIds: string[]) {
      remember(sessionIds)
      if (sessionIds.length > 0) markers?.publish(sessionIds)
    },

    /** Throws ServiceUnavailable when nobody can tell. */
    isRevoked (sessionId: string): boolean | Promise<boolean> {
      if (revoked.has(sessionId)) return true
      return isFresh() ? false : askAgain(sessionId)
    }
  }

  function isFresh () {
    return now() - readSentAt <= STALE_AFTER_MS
  }

  async function askAgain (sessionId: string) {
    if (readSentAt === -Infinity) throw unavailable(new Error('the revocation feed has never been read'))
    await within(JOIN_MS, refresh()).catch(() => {})
    if (revoked.has(sessionId)) return true
    if (isFresh()) return false
    if (!markers) throw unavailable(new Error('the revocation feed is stale'))
    return markers.has(sessionId).catch((error) => { throw unavailable(error) })
  }

  /** Reads the feed; whoever asks meanwhile joins. */
  function refresh () {
    reading ??= readOnce().finally(() => { reading = undefined })
    return reading
  }

  async function readOnce () {
    const sentAt = now()
    remember(await read())
    forgetOld()
    readSentAt = sentAt
  }

  function remember (sessionIds: string[]) {
    for (const id of sessionIds) {
      if (!revoked.has(id)) revoked.set(id, now())
    }
  }

  // A Map iterates in the order of insertion, so the oldest come first.
  function forgetOld () {
    for (const [id, knownSince] of revoked) {
      if (now() - knownSince < KEEP_SECONDS * 1000) return
      revoked.delete(id)
    }
  }
}

async function within<Result> (ms: number, work: Promise<Result>) {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

export default fp(async (app) => {
  const feed = createFeed(app.config)
  const revocations = createRevocations({ read: feed.read })
  app.decorate('revocations', revocations)
  app.health.add('database', async () => {
    if (!revocations.isLoaded) throw new Error('the revocation feed has not been read yet')
  })

  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let isGood = true
  let purgedAt = -Infinity
  let isClosing = false
  app.addHook('onReady', async function follow () { timer = setTimeout(next, 0) })
  app.addHook('onClose', async () => {
    isClosing = true
    clearTimeout(timer)
    feed.close()
    await running
  })

  function next () {
    running = round().finally(() => { if (!isClosing) timer = setTimeout(next, READ_EVERY_MS) })
  }

  async function round () {
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
    if (performance.now() - purgedAt > PURGE_EVERY_MS) await purge()
  }

  async function purge () {
    purgedAt = performance.now()
    await app.db.query('delete from revocations where at < clock_timestamp() - make_interval(secs => $1)', [KEEP_SECONDS])
      .catch((error) => app.log.warn({ err: error }, 'old revocations could not be purged'))
  }
}, { name: 'revocations', dependencies: ['config', 'db', 'health'] })

import { performance } from 'node:perf_hooks'
import { unavailable } from '../errors.ts'
import type { FastifyInstance } from 'fastify'
import type { Markers } from './markers.ts'

/** The second source that other replicas write to at once: Redis, where there is one. */
export type RevocationMarkers = Pick<Markers, 'note' | 'forget' | 'publish' | 'has'>

type Needs = { read: () => Promise<string[]>, markers?: RevocationMarkers, within: FastifyInstance['within'], now?: () => number }

const STALE_AFTER_MS = 900
const JOIN_MS = 300
// After a server that was silent the next read is most likely not answered either, and nobody is kept waiting for that; one that
// refuses does so at once, and who asks when it is back waits until it has been connected to.
const JOIN_AFTER_SILENCE_MS = 15
const SILENT_MS = 20
const SHORTEST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 1000
/** No access token lives longer than an hour; the rest is for clocks and slow reads. */
export const KEEP_SECONDS = 3900

/**
 * The ids of all sessions revoked lately, in memory, so that the check of a session costs no I/O.
 * What is not in memory is alive only while the feed is fresh; otherwise the markers decide, or nobody does (503).
 */
export function createRevocations ({ read, markers, within, now = () => performance.now() }: Needs) {
  const revoked = new Map<string, number>()
  let readSentAt = -Infinity
  let askedAt = -Infinity
  let reading: Promise<void> | undefined
  let failures = 0
  let wasSilent = false      // the last read, if it failed
  let nextTryAt = -Infinity

  return {
    refresh,
    isFresh,
    remember,

    /** All that were revoked before now. A read that is under way may have been sent earlier; the next one was not. */
    async readAll () {
      await refresh()
      await refresh()
      return [...revoked.keys()]
    },

    /** Whether the whole feed has been read at least once. */
    get isLoaded () { return readSentAt > -Infinity },

    /** How long to wait before the next read, in ms: 0 unless the last ones failed. */
    get pauseMs () { return Math.max(0, nextTryAt - now()) },

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
    // Where the loop was held up, a read that is under way may have been sent too long ago; the next one was not.
    if (await join().then(() => !isFresh(), () => false)) await join().catch(() => {})
    if (revoked.has(sessionId)) return true
    if (isFresh()) return false
    if (readSentAt === -Infinity) throw unavailable(new Error('the revocation feed has never been read'))
    if (!markers) throw unavailable(new Error('the revocation feed is stale'))
    return markers.has(sessionId).catch((error) => { throw unavailable(error) })
  }

  // Many may ask, and PostgreSQL is asked no more often for that.
  async function join () {
    if (failures > 0 && !reading && now() < nextTryAt) return
    const answer = refresh()
    const isSilent = failures > 0 && (wasSilent || now() - askedAt >= SILENT_MS)
    return within(isSilent ? JOIN_AFTER_SILENCE_MS : JOIN_MS, answer)
  }

  /** Reads the feed; whoever asks meanwhile joins. */
  function refresh () {
    reading ??= readOnce().finally(() => { reading = undefined })
    return reading
  }

  async function readOnce () {
    askedAt = now()
    remember(await read().catch(failed))
    forgetOld()
    failures = 0
    readSentAt = askedAt
  }

  // Exponential backoff with jitter, so that replicas do not come back at the same time.
  function failed (error: unknown): never {
    wasSilent = now() - askedAt >= SILENT_MS
    const pauseMs = Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS * 2 ** failures++)
    nextTryAt = now() + pauseMs * (0.5 + Math.random() / 2)
    throw error
  }

  function remember (sessionIds: string[]) {
    const news = sessionIds.filter((id) => !revoked.has(id))
    for (const id of news) revoked.set(id, now())
    markers?.note(news)
  }

  // A Map iterates in the order of insertion, so the oldest come first.
  function forgetOld () {
    for (const [id, knownSince] of revoked) {
      if (now() - knownSince < KEEP_SECONDS * 1000) return
      revoked.delete(id)
      markers?.forget(id)
    }
  }
}

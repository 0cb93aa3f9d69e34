import { performance } from 'node:perf_hooks'
import fp from 'fastify-plugin'
import type { FastPath } from './redis/index.ts'

declare module 'fastify' {
  interface FastifyInstance { cache: ReturnType<typeof createCache> }
}

/** `updatedAt`, an RFC 3339 time in UTC with milliseconds, grows with each change, so that it tells versions apart and sorts them. */
type Versioned = { id: string, updatedAt: string }
type Held<Value> = { version: string, value?: Value, freshUntil: number }
type Needs = { fastPath: FastPath | null, now?: () => number }

const FRESH_MS = 1000
const MOST_ENTRIES = 10_000
const CHANNEL = 'microts:profiles'
/** The version of what is deleted. */
const LAST_VERSION = '9999-12-31T23:59:59.999Z'

const keyOf = (id: string) => `microts:profile:{${id}}`

// The value stands behind its version. Time is that of Redis, so that it counts how long a command was on its way.
const NOW = "local time = redis.call('time') local now = time[1] * 1000 + math.floor(time[2] / 1000)"
const HELD = `local function version_of (key) return string.sub(redis.call('get', key) or '', 1, ${LAST_VERSION.length}) end`
const READ = "return { redis.call('get', key) or '', redis.call('pttl', key), now }"
const FILL = `
  local left = read_at + ${FRESH_MS} - now
  if version_of(key) <= version and left > 0 and left <= ${FRESH_MS} then redis.call('set', key, version .. value, 'px', left) end`
const SUPERSEDE = `if version_of(key) < version then redis.call('set', key, version, 'px', ${FRESH_MS}) end`

/**
 * Values of at most a second ago, counted from before they were read: in memory, then in Redis, then from where they come.
 * A version that is superseded is forgotten at once where that happens, within milliseconds where it is heard of, and after a
 * second wherever it is not; a late reader brings no older one back.
 */
export function createCache ({ fastPath, now = () => performance.now() }: Needs) {
  const entries = new Map<string, Held<Versioned>>()
  const flights = new Map<string, { since: number, value: Promise<Versioned> }>()
  const counts = { hit: 0, shared: 0, miss: 0, error: 0 }
  const shared = fastPath && createShared(fastPath)
  fastPath?.listen(CHANNEL, (message) => forget(...message.split(' ') as [id: string, version: string]))

  return {
    counts,

    /** What is in memory, at once; or what `load` gives, for all who ask at the time: the end of one request must not end it. */
    get<Value extends Versioned> (id: string, load: () => Promise<Value>): Value | Promise<Value> {
      const held = fresh(id)
      if (held?.value) {
        counts.hit++
        return held.value as Value
      }
      const flight = flights.get(id)
      return (flight && now() - flight.since <= FRESH_MS ? flight.value : take(id, load)) as Promise<Value>
    },

    /** Call it after the commit. */
    supersede (id: string, version = LAST_VERSION) {
      forget(id, version)
      shared?.supersede(id, version).catch(failed)
    }
  }

  function take<Value extends Versioned> (id: string, load: () => Promise<Value>) {
    const flight = { since: now(), value: fetch(id, load).finally(() => { if (flights.get(id) === flight) flights.delete(id) }) }
    flights.set(id, flight)
    return flight.value
  }

  async function fetch<Value extends Versioned> (id: string, load: () => Promise<Value>): Promise<Versioned> {
    const askedAt = now()
    const found = await shared?.read(id).catch(failed)
    if (found?.value && !isSuperseded(found.value)) {
      counts.shared++
      keep(found.value, askedAt + found.leftMs)
      return found.value
    }
    counts.miss++
    const loadedAt = now()
    const value = await load()
    keep(value, loadedAt + FRESH_MS)
    if (found) shared!.fill(value, found.time).catch(failed)
    return value
  }

  function keep (value: Versioned, freshUntil: number) {
    if (isSuperseded(value)) return
    hold(value.id, { version: value.updatedAt, value, freshUntil })
  }

  // Whoever asks from now on joins no load that began before.
  function forget (id: string, version: string) {
    if (versionOf(id) >= version) return
    flights.delete(id)
    hold(id, { version, freshUntil: now() + FRESH_MS })
  }

  function isSuperseded ({ id, updatedAt }: Versioned) {
    return versionOf(id) > updatedAt
  }

  function versionOf (id: string) {
    return fresh(id)?.version ?? ''
  }

  function fresh (id: string) {
    const held = entries.get(id)
    return held && now() < held.freshUntil ? held : undefined
  }

  function hold (id: string, held: Held<Versioned>) {
    entries.delete(id)
    entries.set(id, held)
    if (entries.size > MOST_ENTRIES) entries.delete(entries.keys().next().value!)
  }

  function failed () {
    counts.error++
    return undefined
  }
}

function createShared ({ run, script }: FastPath) {
  const read = script('microtsReadProfile', { keys: ['key'], once: NOW, each: READ })
  const fill = script('microtsFillProfile', { keys: ['key'], args: ['version', 'value', 'read_at'], once: `${NOW} ${HELD}`, each: FILL })
  const supersede = script('microtsSupersedeProfile', { keys: ['key'], args: ['version'], once: HELD, each: SUPERSEDE })

  return {
    /** The value, how long it is fresh yet, and the time of Redis, which `fill` wants to know. */
    async read (id: string) {
      const [text, leftMs, time] = await read<[string, number, number]>(keyOf(id))
      const json = text.slice(LAST_VERSION.length)
      return { value: json ? JSON.parse(json) as Versioned : undefined, leftMs, time }
    },

    fill: (value: Versioned, time: number) => fill(keyOf(value.id), value.updatedAt, JSON.stringify(value), time),

    supersede: (id: string, version: string) => Promise.all([
      supersede(keyOf(id), version),
      run((redis) => redis.publish(CHANNEL, `${id} ${version}`))
    ])
  }
}

export default fp(async (app) => {
  const cache = createCache(app)
  app.decorate('cache', cache)
  app.metrics.counter({
    name: 'microts_cache_requests_total',
    help: 'Reads of profiles, by where they were found: in memory, in Redis, or in PostgreSQL; errors of Redis beside',
    labelNames: ['result'],
    collect () {
      this.reset()
      for (const [result, count] of Object.entries(cache.counts)) this.inc({ result }, count)
    }
  })
}, { name: 'cache', dependencies: ['metrics', 'redis'] })

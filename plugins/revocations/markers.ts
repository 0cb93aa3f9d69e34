import { randomUUID } from 'node:crypto'
import type { FastPath } from '../redis/index.ts'

const CHANNEL = 'microts:revoked'
const BATCH = 500
// By the last digit of the id, so that a cluster shares the load, and a master that is lost takes only its own with it.
const SHARDS = [...'0123456789abcdef']

const markerOf = (sessionId: string) => `microts:revoked:{${shardOf(sessionId)}}:${sessionId}`
const stateOf = (shard: string) => `microts:revoked:{${shard}}:state`
const shardOf = (sessionId: string) => sessionId.at(-1)!

// A Redis that is full takes nothing new from a script that has not written yet, and what it lacks would let somebody in.
const beginToWrite = (key: string) => `redis.call('persist', ${key})`
// A server that was restarted, or promoted, or demoted and promoted again, may lack what was written last: its ids together are new.
const RUN = "local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)') .. string.match(redis.call('info', 'replication'), 'master_replid:(%w+)')"
// Who finds a loss names it; who comes later goes by the same name, so that whoever is ready first has done it for all.
const BEGIN = `
  local found = redis.call('get', state)
  if found == run then return false end
  if not found or string.sub(found, 1, #run) ~= run then
    found = run .. ':' .. loss
    ${beginToWrite('state')}
    redis.call('set', state, found)
  end
  return found`
const END = `
  if redis.call('get', state) ~= loss then return end
  ${beginToWrite('state')}
  redis.call('set', state, string.match(loss, '^%w+'))`
const MARK = `
  ${beginToWrite('marker')}
  redis.call('set', marker, 1, 'ex', seconds)`
// One that refuses to be written may lack what was revoked meanwhile, whichever server it is.
const HAS = `
  if redis.call('exists', marker) == 1 then return 1 end
  ${beginToWrite('state')}
  return redis.call('get', state) == run and 0 or -1`

export type Markers = ReturnType<typeof createMarkers>

/**
 * The revoked sessions in Redis: a key for each, and per shard one that says which server has them all. Redis may lose anything
 * at any time; until a replica that knows all has written them again, nobody is let in by what is not there.
 */
export function createMarkers ({ run, script, listen }: FastPath, keepSeconds: number) {
  const unwritten = new Set<string>()
  const begin = script('microtsBegin', { keys: ['state'], args: ['loss'], once: RUN, each: BEGIN })
  const end = script('microtsEnd', { keys: ['state'], args: ['loss'], each: END })
  const has = script('microtsHas', { keys: ['state', 'marker'], once: RUN, each: HAS })
  const mark = script('microtsMark', { keys: ['marker'], args: ['seconds'], each: MARK })

  return {
    write: () => write([...unwritten]),

    /** Remembers what is to be written: each replica writes what it hears of, since the one that revoked it may not reach Redis. */
    note (sessionIds: string[]) {
      for (const id of sessionIds) unwritten.add(id)
    },

    /** What nobody needs to hear of any more, however long Redis is away. */
    forget (sessionId: string) {
      unwritten.delete(sessionId)
    },

    /** Tells the other replicas at once; what fails is left to the next `write`. */
    async publish (sessionIds: string[]) {
      await Promise.allSettled([write(sessionIds), run((redis) => redis.publish(CHANNEL, sessionIds.join()))])
    },

    /** Calls back with what is published. */
    follow (onRevoked: (sessionIds: string[]) => void) {
      listen(CHANNEL, (message) => onRevoked(message.split(',')))
    },

    /**
     * Writes again what Redis has lost, and says how many shards that were; a shard that cannot be written holds up none of the others.
     * `readAll` gives every session revoked before it was called, or undefined where that is not known now, and then so is the answer;
     * who is revoked later is written by those who hear of it, and that is not lost unless the server changes once more.
     */
    async restore (readAll: () => Promise<string[] | undefined>) {
      const failures: unknown[] = []
      const failed = (error: unknown) => { failures.push(error) }
      const losses = await Promise.all(SHARDS.map((shard) => begin<string | null>(stateOf(shard), randomUUID()).catch(failed)))
      const lost = SHARDS.flatMap((shard, i) => losses[i] ? [{ shard, loss: losses[i] }] : [])
      const all = lost.length > 0 ? await readAll() : []
      const ids = all && Object.groupBy(all, shardOf)
      if (ids) for (const { shard, loss } of lost) await write(ids[shard] ?? []).then(() => end(stateOf(shard), loss)).catch(failed)
      if (failures.length > 0) throw failures[0]
      return all && lost.length
    },

    /** Rejects where Redis cannot tell. */
    async has (sessionId: string) {
      const answer = await has<number>(stateOf(shardOf(sessionId)), markerOf(sessionId))
      if (answer < 0) throw new Error('Redis may lack revocations, which are not written again yet')
      return answer === 1
    }
  }

  // The shards of a cluster fail one by one: what one of them does not take comes last the next time, and holds up none of the others.
  async function write (sessionIds: string[]) {
    const failures: unknown[] = []
    for (let from = 0; from < sessionIds.length && failures.length < BATCH; from += BATCH) {
      const batch = sessionIds.slice(from, from + BATCH)
      await Promise.all(batch.map((id) => mark(markerOf(id), keepSeconds).then(() => unwritten.delete(id), (error) => {
        failures.push(error)
        if (unwritten.delete(id)) unwritten.add(id)
      })))
    }
    if (failures.length > 0) throw failures[0]
  }
}

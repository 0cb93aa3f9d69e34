import { randomUUID } from 'node:crypto'
import type { FastPath } from '../redis/index.ts'

const CHANNEL = 'microts:revoked'
const BATCH = 500
// By the last digit of the id, so that a cluster shares the load, and a master that is lost takes only its own with it.
const SHARDS = [...'0123456789abcdef']

const markerOf = (sessionId: string) => `microts:revoked:{${shardOf(sessionId)}}:${sessionId}`
const stateOf = (shard: string) => `microts:revoked:{${shard}}:state`
const shardOf = (sessionId: string) => sessionId.at(-1)!

// A server that was restarted, or a replica that was promoted, may lack what was written last: it has another run id.
const RUN = "local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')"
const IS_WHOLE = `${RUN} return redis.call('get', KEYS[1]) == run and 1 or 0`
const BEGIN = `${RUN} redis.call('set', KEYS[1], run .. ARGV[1])`
const END = `${RUN} if redis.call('get', KEYS[1]) == run .. ARGV[1] then redis.call('set', KEYS[1], run) end`
const HAS = `
  if redis.call('exists', KEYS[1]) == 1 then return 1 end
  ${RUN}
  return redis.call('get', KEYS[2]) == run and 0 or -1`

/**
 * The revoked sessions in Redis: a key for each, and per shard one that says which server has them all. Redis may lose anything
 * at any time; until a replica that knows all has written them again, nobody is let in by what is not there.
 */
export function createMarkers ({ run, script, listen }: FastPath, keepSeconds: number) {
  const unwritten = new Set<string>()
  const isWhole = script('microtsIsWhole', IS_WHOLE, 1)
  const begin = script('microtsBegin', BEGIN, 1)
  const end = script('microtsEnd', END, 1)
  const has = script('microtsHas', HAS, 2)

  return {
    write: () => write([...unwritten]),

    /** Remembers what is to be written: each replica writes what it hears of, since the one that revoked it may not reach Redis. */
    note (sessionIds: string[]) {
      for (const id of sessionIds) unwritten.add(id)
    },

    /** Tells the other replicas at once; what fails is left to the next `write`. */
    async publish (sessionIds: string[]) {
      await Promise.allSettled([write(sessionIds), run((redis) => redis.publish(CHANNEL, sessionIds.join()))])
    },

    /** Calls back with what is published. */
    follow (onRevoked: (sessionIds: string[]) => void) {
      listen(CHANNEL, (message) => onRevoked(message.split(',')))
    },

    /** Writes again what Redis has lost, and says how many shards that were; `all` gives every revoked session there is. */
    async restore (all: () => string[]) {
      const states = await Promise.all(SHARDS.map((shard) => isWhole(stateOf(shard))))
      const lost = SHARDS.filter((shard, i) => !states[i])
      for (const shard of lost) await rebuild(shard, all)
      return lost.length
    },

    /** Rejects where Redis cannot tell. */
    async has (sessionId: string) {
      const answer = await has<number>(markerOf(sessionId), stateOf(shardOf(sessionId)))
      if (answer < 0) throw new Error('Redis may lack revocations, which are not written again yet')
      return answer === 1
    }
  }

  // If Redis loses it once more meanwhile, the token is gone too, or belongs to another server.
  async function rebuild (shard: string, all: () => string[]) {
    const token = randomUUID()
    await begin(stateOf(shard), token)
    await write(all().filter((id) => shardOf(id) === shard))
    await end(stateOf(shard), token)
  }

  async function write (sessionIds: string[]) {
    for (let from = 0; from < sessionIds.length; from += BATCH) {
      const batch = sessionIds.slice(from, from + BATCH)
      await run((redis) => Promise.all(batch.map((id) => redis.set(markerOf(id), 1, 'EX', keepSeconds))))
      for (const id of batch) unwritten.delete(id)
    }
  }
}

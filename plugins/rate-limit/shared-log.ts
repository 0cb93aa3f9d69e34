import type { Decision, Log } from './sliding-log.ts'
import type { FastPath } from '../redis/index.ts'

const KEY_PREFIX = 'microts:limit:'
const REDIS_TIME = "redis.call('time')"
const MICROSECONDS = 1000

// One key a log, its slots scored with the microsecond they were taken in. Numbers go back as they are only when they are integers.
// Where a limit was lowered more are held than may be, and several have to free before one may be taken.
const clock = (time: string) => `
  local time = ${time}
  local now = time[1] * 1000000 + time[2]
  local window = ARGV[1] * ${MICROSECONDS}
  local max = tonumber(ARGV[2])
  local last_free = string.format('%.0f', now - window)
  local function decide (held, current)
    local awaited = redis.call('zrangebyscore', KEYS[1], '(' .. last_free, '+inf', 'withscores', 'limit', math.max(0, held - max), 1)
    return { current, awaited[2] and awaited[2] + window - now or 0 }
  end`

// The key goes with its last slot, by the same clock: PEXPIRE counts from when the script began (since Redis 7.2), which may be earlier.
const take = (time: string) => `${clock(time)}
  redis.call('zremrangebyscore', KEYS[1], '-inf', last_free)
  local held = redis.call('zcard', KEYS[1])
  if held >= max then return decide(held, max + 1) end
  redis.call('zadd', KEYS[1], string.format('%.0f', now), ARGV[3])
  redis.call('pexpireat', KEYS[1], math.ceil((now + window) / ${MICROSECONDS}))
  return decide(held + 1, held + 1)`

const look = (time: string) => `${clock(time)}
  local held = redis.call('zcount', KEYS[1], '(' .. last_free, '+inf')
  return decide(held, held >= max and max + 1 or held)`

/**
 * The sliding log of all replicas, in Redis: one atomic step a decision, by the clock of Redis; where that is put back, slots
 * are held longer by as much, and where it is put forward, shorter. While Redis cannot answer, the log of this replica
 * decides: it never comes to "unlimited". `time` is a Lua expression for what TIME answers.
 */
export function createSharedLog ({ tell, script }: FastPath, local: Log, time = REDIS_TIME): Log {
  const takeSlot = script('microtsTakeSlot', take(time), 1)
  const lookAt = script('microtsLookAt', look(time), 1)

  return {
    take (key, windowMs, max) {
      const [name, id] = split(key)
      return takeSlot(name, windowMs, max, id).then(decisionOf, () => local.take(key, windowMs, max))
    },

    look: (key, windowMs, max) => lookAt(split(key)[0], windowMs, max).then(decisionOf, () => local.look(key, windowMs, max)),

    // The slot may be in either, where Redis went or came back meanwhile. What a lost refund costs is a slot, until its window has passed.
    refund (key) {
      const [name, id] = split(key)
      local.refund(key)
      tell((redis) => redis.zrem(name, id))
    },

    clear (key) {
      local.clear(key)
      tell((redis) => redis.del(split(key)[0]))
    }
  }
}

function decisionOf (answer: unknown): Decision {
  const [current, microseconds] = answer as [number, number]
  return { current, ttl: microseconds / MICROSECONDS }
}

function split (key: string): [name: string, slotId: string] {
  const at = key.lastIndexOf('|')
  return [KEY_PREFIX + key.slice(0, at), key.slice(at + 1)]
}

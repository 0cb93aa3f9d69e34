import type { Callback, Decision, Log } from './sliding-log.ts'
import type { FastPath } from '../redis/index.ts'

const KEY_PREFIX = 'microts:limit:'
const REDIS_TIME = "redis.call('time')"
const MICROSECONDS = 1000

// One key a log, its slots scored with the microsecond they were taken in. Numbers go back as they are only when they are integers.
const clock = (time: string) => `
  local time = ${time}
  local now = time[1] * 1000000 + time[2]
  local window = ARGV[1] * ${MICROSECONDS}
  local max = tonumber(ARGV[2])
  local last_free = string.format('%.0f', now - window)
  local function decide (taken)
    local oldest = redis.call('zrangebyscore', KEYS[1], '(' .. last_free, '+inf', 'withscores', 'limit', 0, 1)
    return { taken, oldest[2] and oldest[2] + window - now or 0 }
  end`

// The key outlives its last slot by a millisecond, since its clock is coarser.
const take = (time: string) => `${clock(time)}
  redis.call('zremrangebyscore', KEYS[1], '-inf', last_free)
  local taken = redis.call('zcard', KEYS[1])
  if taken >= max then return decide(max + 1) end
  redis.call('zadd', KEYS[1], string.format('%.0f', now), ARGV[3])
  redis.call('pexpire', KEYS[1], ARGV[1] + 1)
  return decide(taken + 1)`

const look = (time: string) => `${clock(time)}
  local taken = redis.call('zcount', KEYS[1], '(' .. last_free, '+inf')
  return decide(taken >= max and max + 1 or taken)`

/**
 * The sliding log of all replicas, in Redis: one atomic step a decision, by the clock of Redis. While Redis cannot answer, the
 * log of this replica decides: it never comes to "unlimited". `time` is a Lua expression for what TIME answers.
 */
export function createSharedLog ({ run, script }: FastPath, local: Log, time = REDIS_TIME): Log {
  const takeSlot = script('microtsTakeSlot', take(time), 1)
  const lookAt = script('microtsLookAt', look(time), 1)

  return {
    incr (key, done, windowMs, max) {
      const [name, id] = split(key)
      answer(takeSlot(name, windowMs, max, id), done, () => local.incr(key, done, windowMs, max))
    },

    read (key, done, windowMs, max) {
      answer(lookAt(split(key)[0], windowMs, max), done, () => local.read(key, done, windowMs, max))
    },

    // The slot may be in either, where Redis went or came back meanwhile.
    refund (key) {
      const [name, id] = split(key)
      local.refund(key)
      run((redis) => redis.zrem(name, id)).catch(ignore)
    },

    clear (key) {
      local.clear(key)
      run((redis) => redis.del(split(key)[0])).catch(ignore)
    }
  }
}

function answer (asked: Promise<unknown>, done: Callback, fallBack: () => void) {
  asked.then((decision) => {
    const [current, microseconds] = decision as [number, number]
    done(null, { current, ttl: microseconds / MICROSECONDS } satisfies Decision)
  }, fallBack)
}

// What a lost refund costs is a slot, until its window has passed.
const ignore = () => {}

function split (key: string): [name: string, slotId: string] {
  const at = key.lastIndexOf('|')
  return [KEY_PREFIX + key.slice(0, at), key.slice(at + 1)]
}

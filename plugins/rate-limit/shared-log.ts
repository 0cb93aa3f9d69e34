import { randomBytes } from 'node:crypto'
import type { Log, Slot } from './sliding-log.ts'
import type { Decision } from './slot-table.ts'
import type { Commands, FastPath } from '../redis/index.ts'

type Options = { time?: string, origin?: string }

const KEY_PREFIX = 'microts:limit:'
const REDIS_TIME = "redis.call('time')"
const MICROSECONDS = 1000
const MOST_OWED = 10_000
const PAID_AT_A_TIME = 100

// One key a log, its slots scored with the microsecond they were taken in. Numbers go back as they are only when they are integers.
const clock = (time: string) => `
  local time = ${time}
  local now = time[1] * 1000000 + time[2]
  local now_text = string.format('%.0f', now)
  local function last_free (window) return string.format('%.0f', now - window) end
  local function oldest (key) return tonumber(redis.call('zrange', key, 0, 0, 'withscores')[2]) end
  local function frees_in (key, window, behind)
    local slot = redis.call('zrangebyscore', key, '(' .. last_free(window), '+inf', 'withscores', 'limit', behind, 1)
    return slot[2] and slot[2] + window - now or 0
  end`

// A Redis that is full refuses what a script adds before that script has written anything, and nothing after it: slots would be taken until it is killed.
// XX adds nothing in either case.
const REFUSE_IF_FULL = "redis.call('zadd', KEYS[1], 'xx', 0, 'none')"

// Where a limit was lowered more are held than may be, and several have to free before one may be taken.
// The key goes with its last slot, by the same clock: PEXPIRE counts from when the script began (since Redis 7.2), which may be earlier.
const TAKE = `
  local window, max = window_ms * ${MICROSECONDS}, tonumber(max)
  local first = oldest(key)
  if first and first + window <= now then
    redis.call('zremrangebyscore', key, '-inf', last_free(window))
    first = oldest(key)
  end
  local held = redis.call('zcard', key)
  if held >= max then return { max + 1, frees_in(key, window, held - max) } end
  redis.call('zadd', key, now_text, id)
  redis.call('pexpireat', key, math.ceil((now + window) / ${MICROSECONDS}))
  return { held + 1, math.min(first or now, now) + window - now }`

const LOOK = `
  local window, max = window_ms * ${MICROSECONDS}, tonumber(max)
  local held = redis.call('zcount', key, '(' .. last_free(window), '+inf')
  return { held >= max and max + 1 or held, frees_in(key, window, math.max(0, held - max)) }`

/**
 * The sliding log of all replicas, in Redis: one atomic step a decision, by the clock of Redis; where that is put back, slots
 * are held longer by as much, and where it is put forward, shorter. While Redis cannot answer, the log of this replica
 * decides: it never comes to "unlimited". `time` is a Lua expression for what TIME answers, `origin` a name of this replica.
 */
export function createSharedLog ({ tell, script }: FastPath, local: Log, { time = REDIS_TIME, origin = randomBytes(6).toString('base64url') }: Options = {}): Log {
  const takeSlot = script('microtsTakeSlot', { keys: ['key'], args: ['window_ms', 'max', 'id'], once: `${REFUSE_IF_FULL} ${clock(time)}`, each: TAKE })
  const lookAt = script('microtsLookAt', { keys: ['key'], args: ['window_ms', 'max'], once: clock(time), each: LOOK })
  // What was to be cleared while Redis was away, and when: without it a row of failures would go on that a success has ended.
  const owed = new Map<string, number>()

  return {
    take: (slot, windowMs, max) => takeSlot(keyOf(slot), windowMs, max, idOf(slot)).then(decide, () => local.take(slot, windowMs, max)),

    look: (slot, windowMs, max) => lookAt(keyOf(slot), windowMs, max).then(decide, () => local.look(slot, windowMs, max)),

    // The slot may be in either, where Redis went or came back meanwhile. What a lost refund costs is a slot, until its window has passed.
    refund (slot) {
      local.refund(slot)
      tell((redis) => redis.zrem(keyOf(slot), idOf(slot)))
    },

    clear (slot) {
      local.clear(slot)
      const [key, at] = [keyOf(slot), Date.now()]
      settle(key, at, (redis) => redis.del(key))
    }
  }

  function decide (answer: unknown) {
    if (owed.size > 0) pay()
    return decisionOf(answer)
  }

  /** Clears what was taken until then, now that Redis answers. */
  function pay () {
    for (const [key, at] of [...owed].slice(0, PAID_AT_A_TIME)) {
      owed.delete(key)
      settle(key, at, (redis) => redis.zremrangebyscore(key, '-inf', at * MICROSECONDS))
    }
  }

  async function settle (key: string, at: number, use: (redis: Commands) => Promise<unknown>) {
    if (await tell(use)) return
    owed.set(key, at)
    if (owed.size > MOST_OWED) owed.delete(owed.keys().next().value!)
  }

  function idOf ({ id }: Slot) {
    return `${id}-${origin}`
  }
}

const keyOf = ({ dimension, value }: Slot) => `${KEY_PREFIX}{${dimension}:${value}}`

function decisionOf (answer: unknown): Decision {
  const [current, microseconds] = answer as [number, number]
  return { current, ttl: microseconds / MICROSECONDS }
}

import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import autocannon, { type Client, type Instance } from 'autocannon'
import { ANSWER_SECONDS, type Action, type Stage } from './mix.ts'
import { actionAt } from './plan.ts'
import type { createTally } from './tally.ts'
import type { VirtualUser } from './virtual-user.ts'
import type { EventEmitter } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'

type Tally = Pick<ReturnType<typeof createTally>, 'limit' | 'sent' | 'take'>
type Part = { seconds: number, isFlood: boolean }

const COHORTS = 10
const SAMPLE_MS = 100
const MOST_ERRORS = 20

/** Fires with autocannon. Users would all come at the beginning of each second: so each cannon is a cohort of them, and the next one begins a little later. */
export function createRange (url: string, tally: Tally, interrupted: AbortSignal) {
  const firing = new Set<Instance>()
  interrupted.addEventListener('abort', cease)

  return { fire, isOver }

  /** Ends when each user has sent what the stage wants of it, and has the answers. The flood ends with the stage, whoever still waits. */
  async function fire ({ seconds, users, flood }: Stage, all: VirtualUser[]) {
    await Promise.all([
      volley(all.slice(0, users), { seconds, isFlood: false }),
      volley(all.slice(all.length - flood), { seconds, isFlood: true })
    ])
  }

  async function volley (users: VirtualUser[], part: Part) {
    const count = Math.min(COHORTS, users.length)
    await Promise.all(Array.from({ length: count }, async (_, at) => {
      await delay(1000 * at / count, undefined, { signal: interrupted }).catch(() => {})
      if (!isOver()) await shoot(users.filter((_, i) => i % count === at), part)
    }))
  }

  async function shoot (users: VirtualUser[], part: Part) {
    const waiting = users.values()
    const duration = part.seconds + (part.isFlood ? 0 : ANSWER_SECONDS)
    const endsAt = performance.now() + 1000 * duration
    const { promise, resolve } = Promise.withResolvers<unknown>()
    const cannon = autocannon({
      url,
      connections: users.length,
      connectionRate: 1,
      maxConnectionRequests: part.seconds,
      duration,
      timeout: ANSWER_SECONDS,
      sampleInt: SAMPLE_MS,
      bailout: MOST_ERRORS,
      setupClient: (client) => drive(client, waiting.next().value!, part, endsAt)
    }, resolve)
    firing.add(cannon)
    await promise
    firing.delete(cannon)
  }

  function drive (client: Client, user: VirtualUser, { seconds, isFlood }: Part, endsAt: number) {
    let count = 0
    let pending: { action: Action, sentAt: number } | undefined
    client.setRequests([{
      setupRequest (defaults) {
        forgo()
        return { ...defaults, ...begin() }
      },
      onResponse (status, body, _, headers) {
        const { action, sentAt } = pending!
        pending = undefined
        user.take(status, body)
        tally.take(action, { status, ms: performance.now() - sentAt, retryAfter: headerOf(headers, 'retry-after'), policy: headerOf(headers, 'ratelimit-policy') })
        if (isOver()) cease()
      }
    }])
    const events: EventEmitter = client      // its own types leave this one out
    events.on('done', () => {
      if (isOver() || performance.now() >= endsAt) return
      // Given up on, for want of a connection: so nobody answers what it was about to send.
      if (!pending && count < seconds) begin()
      forgo()
    })

    // Autocannon sets the first one up before it connects, and times the handshake with it: no objective judges GET /health.
    function begin () {
      const request = user.next(count === 0 ? 'health' : isFlood ? 'login' : actionAt(Math.random()))
      count++
      tally.sent(request.action, { isPlanned: !isFlood })
      pending = { action: request.action, sentAt: performance.now() }
      return request
    }

    /** A request that still waits when the next one is sent, or when there is none to come, has lost its connection, or its patience. */
    function forgo () {
      if (pending) tally.take(pending.action, { status: 0, ms: 0 })
      pending = undefined
    }
  }

  function cease () {
    for (const cannon of firing) cannon.stop()
  }

  function isOver () {
    return interrupted.aborted || tally.limit !== undefined
  }
}

// A proxy may spell them in its own way, and autocannon leaves that as it is.
function headerOf (headers: IncomingHttpHeaders | undefined, wanted: string) {
  return Object.entries({ ...headers }).find(([name]) => name.toLowerCase() === wanted)?.[1]?.toString()
}

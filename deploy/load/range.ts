import { setTimeout as delay } from 'node:timers/promises'
import autocannon, { type Client, type Instance } from 'autocannon'
import { ANSWER_SECONDS, type Action, type Stage } from './mix.ts'
import { actionAt } from './plan.ts'
import type { createTally } from './tally.ts'
import type { Request, VirtualUser } from './virtual-user.ts'
import type { EventEmitter } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'

type Tally = ReturnType<typeof createTally>

const COHORTS = 10
const SAMPLE_MS = 100
const MOST_ERRORS = 20

/** Fires with autocannon. Users would all come at the beginning of each second: so each cannon is a cohort of them, and the next one begins a little later. */
export function createRange (url: string, tally: Tally, interrupted: AbortSignal) {
  const firing = new Set<Instance>()
  interrupted.addEventListener('abort', cease)

  return { fire, isOver }

  /** Ends when each user has sent what the stage wants of it, and has the answers. */
  async function fire ({ seconds, users, logins }: Stage, all: VirtualUser[]) {
    await Promise.all([
      volley(all.slice(0, users), seconds, () => actionAt(Math.random())),
      volley(all.slice(all.length - logins), seconds, () => 'login')
    ])
  }

  async function volley (users: VirtualUser[], seconds: number, wanted: () => Action) {
    const count = Math.min(COHORTS, users.length)
    await Promise.all(Array.from({ length: count }, async (_, at) => {
      await delay(1000 * at / count, undefined, { signal: interrupted }).catch(() => {})
      if (!isOver()) await shoot(users.filter((_, i) => i % count === at), seconds, wanted)
    }))
  }

  async function shoot (users: VirtualUser[], seconds: number, wanted: () => Action) {
    const waiting = users.values()
    const { promise, resolve } = Promise.withResolvers<unknown>()
    const cannon = autocannon({
      url,
      connections: users.length,
      connectionRate: 1,
      maxConnectionRequests: seconds,
      duration: seconds + ANSWER_SECONDS,
      timeout: ANSWER_SECONDS,
      sampleInt: SAMPLE_MS,
      bailout: MOST_ERRORS,
      setupClient: (client) => drive(client, waiting.next().value!, wanted)
    }, resolve)
    firing.add(cannon)
    await promise
    firing.delete(cannon)
  }

  function drive (client: Client, user: VirtualUser, wanted: () => Action) {
    let request: Request
    let answer: { status: number, retryAfter?: string | undefined, policy?: string | undefined }
    client.on('response', (status, bytes, ms) => {
      tally.take(request.action, { ...answer, ms })
      if (isOver()) cease()
    })
    // The types leave these two out.
    for (const event of ['timeout', 'connError']) (client as EventEmitter).on(event, () => tally.take(request.action, { status: 0, ms: 0 }))
    client.setRequests([{
      setupRequest (defaults) {
        request = user.next(wanted())
        tally.sent(request.action)
        return { ...defaults, ...request }
      },
      onResponse (status, body, _, headers) {
        user.take(status, body)
        answer = { status, retryAfter: headerOf(headers, 'retry-after'), policy: headerOf(headers, 'ratelimit-policy') }
      }
    }])
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

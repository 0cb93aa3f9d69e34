import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import type { Breaker } from '../breaker.ts'

export const RESULTS = ['delivered', 'failed', 'dropped'] as const
type Result = typeof RESULTS[number]
type Needs = { url: string, breaker: Breaker, log: Pick<FastifyBaseLogger, 'warn'>, onResult: (result: Result) => void, pauseMs?: (failures: number) => number }

const MOST_WAITING = 100
const TRIES = 8
const ANSWER_WITHIN_MS = 3000
const SHORTEST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000
const FAREWELL_MS = 1000
const LONGEST_RETRY_AFTER_MS = 120_000
const TRY_AGAIN = [408, 425, 429]

/** The receiver is there, but does not take this; later, where it says when. */
class Refused extends Error {
  readonly isForEver: boolean
  readonly retryAfterMs: number

  constructor (status: number, retryAfterMs: number) {
    super(`the webhook answered ${status}`)
    this.isForEver = !TRY_AGAIN.includes(status)
    this.retryAfterMs = retryAfterMs
  }
}

export const isOutage = (error: unknown) => !(error instanceof Refused)

/** Exponential backoff with full jitter: eight tries take about a minute. */
const backoffMs = (failures: number) => SHORTEST_PAUSE_MS + Math.random() * Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS * 2 ** failures)

/** Sends messages in their order, in a form that Slack, Mattermost and Discord's /slack take. Nobody waits for it, and what is too much is dropped. */
export function createWebhook ({ url, breaker, log, onResult, pauseMs = backoffMs }: Needs) {
  const waiting: string[] = []
  const closing = new AbortController()
  const ending = new AbortController()
  let sending: Promise<void> | undefined

  return {
    send (text: string) {
      if (waiting.length >= MOST_WAITING) {
        onResult('dropped')
        log.warn({ text }, 'too many alerts are waiting, one is dropped')
        return
      }
      waiting.push(text)
      sending ??= sendAll().finally(() => { sending = undefined })
    },

    /** What still waits is tried once, within a second in all. */
    async close () {
      closing.abort()
      const timer = setTimeout(() => ending.abort(), FAREWELL_MS)
      await sending
      clearTimeout(timer)
    }
  }

  async function sendAll () {
    for (let text = waiting[0]; text !== undefined; text = waiting[0]) {
      await deliver(text)
      waiting.shift()
    }
  }

  async function deliver (text: string) {
    for (let failures = 1; ; failures++) {
      try {
        await breaker.run(() => post(text))
        onResult('delivered')
        return
      } catch (error) {
        const { isForEver, retryAfterMs } = error instanceof Refused ? error : { isForEver: false, retryAfterMs: 0 }
        if (failures === TRIES || isForEver || closing.signal.aborted) {
          onResult('failed')
          log.warn({ err: error, text }, 'an alert could not be forwarded')
          return
        }
        await delay(Math.max(pauseMs(failures), retryAfterMs), undefined, { signal: closing.signal, ref: false }).catch(() => {})
      }
    }
  }

  async function post (text: string) {
    const { ok, status, headers } = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text }),
      redirect: 'error',
      signal: AbortSignal.any([ending.signal, AbortSignal.timeout(ANSWER_WITHIN_MS)])
    })
    if (status >= 400 && status < 500) throw new Refused(status, retryAfterOf(headers))
    if (!ok) throw new Error(`the webhook answered ${status}`)
  }
}

// Those who take chat messages say it in seconds.
function retryAfterOf (headers: Headers) {
  const seconds = Number(headers.get('retry-after'))
  return seconds > 0 ? Math.min(seconds * 1000, LONGEST_RETRY_AFTER_MS) : 0
}

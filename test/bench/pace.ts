import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import { performance } from 'node:perf_hooks'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import type { Request } from './generator.ts'

export type Load = {
  url: string
  perSecond: number
  seconds: number
  next: () => Request
  onAnswer?: (body: string) => void
  /** The status of an answer that is as it should be. */
  expected?: number
}
export type Latency = { medianMs: number, p99Ms: number, answers: number }

const MOST_CONNECTIONS = 100
const TICK_MS = 1

/**
 * Sends requests at even distances, whether or not those before were answered (autocannon sends all of a second at its beginning,
 * which is saturation for a while). Throws where an answer is not as it should be, or there is none.
 */
export async function pace ({ url, perSecond, seconds, next, onAnswer, expected = 200 }: Load): Promise<Latency> {
  const agent = new Agent({ keepAlive: true, maxSockets: MOST_CONNECTIONS })
  const latencies: number[] = []
  const total = perSecond * seconds
  const { promise: done, resolve, reject } = Promise.withResolvers<void>()
  const failed = new AbortController()
  done.catch(() => failed.abort())
  const startedAt = performance.now()
  for (let sent = 0; sent < total && !failed.signal.aborted;) {
    const due = Math.min(total, Math.ceil((performance.now() - startedAt) / 1000 * perSecond))
    for (; sent < due; sent++) ask(next()).catch(reject)
    await delay(TICK_MS)
  }
  try {
    await done
  } finally {
    agent.destroy()
  }
  latencies.sort((a, b) => a - b)
  return { medianMs: at(0.5), p99Ms: at(0.99), answers: latencies.length }

  async function ask ({ method = 'GET', path, headers, body }: Request) {
    const sentAt = performance.now()
    const asked = request(url + path, { agent, method, headers })
    asked.end(body)
    const [response] = await once(asked, 'response') as [IncomingMessage]
    const answer = await text(response)
    latencies.push(performance.now() - sentAt)
    if (response.statusCode !== expected) throw new Error(`${method} ${path} answered ${response.statusCode} ${answer}`)
    onAnswer?.(answer)
    if (latencies.length === total) resolve()
  }

  function at (share: number) {
    return latencies[Math.floor(latencies.length * share)]!
  }
}

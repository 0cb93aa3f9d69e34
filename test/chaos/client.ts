import { Agent, request } from 'node:http'
import { performance } from 'node:perf_hooks'
import type { IncomingMessage } from 'node:http'

/** What a client was answered, and when it had asked. Status 0 is no answer at all. */
export type Answer = { route: string, status: number, code?: string, retryAfter?: string, sentAt: number, ms: number, body?: any }
export type Client = ReturnType<typeof createClient>
type Question = { accessToken?: string, payload?: object }

const DEADLINE_MS = 30_000

/** Asks over connections that are kept. */
export function createClient (address: string) {
  const agent = new Agent({ keepAlive: true })

  return {
    close: () => agent.destroy(),

    /** `route` is a method and a path. Never rejects. */
    ask (route: string, { accessToken, payload }: Question = {}): Promise<Answer> {
      const [method, path = ''] = route.split(' ')
      const sentAt = performance.now()
      const answer = (rest: Omit<Answer, 'route' | 'sentAt' | 'ms'>) => ({ route, sentAt, ms: performance.now() - sentAt, ...rest })
      const headers = {
        ...accessToken && { authorization: `Bearer ${accessToken}` },
        ...payload && { 'content-type': 'application/json' }
      }
      return new Promise((resolve) => {
        const asking = request(address + path, { agent, method, headers, signal: AbortSignal.timeout(DEADLINE_MS) }, (response) => {
          read(response).then((body) => resolve(answer({ status: response.statusCode!, code: body?.code, retryAfter: response.headers['retry-after'], body })), fail)
        })
        asking.on('error', fail)
        asking.end(payload && JSON.stringify(payload))

        function fail ({ name, code = name }: Error & { code?: string }) {
          resolve(answer({ status: 0, code }))
        }
      })
    }
  }
}

async function read (response: IncomingMessage) {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  return text ? JSON.parse(text) : undefined
}

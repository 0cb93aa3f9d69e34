import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import type { Test } from 'tap'

export type Question = { method?: string, path: string, token?: string | undefined, body?: object }
export type Answer = { status: number, connection: string | undefined, body: any }
export type Ask = ReturnType<typeof createClient>

const PATIENCE_MS = 60_000

/** A client that keeps its connections for as long as it may, and tries nothing twice. */
export function createClient (t: Test) {
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())

  return async function ask (origin: string, { method = 'GET', path, token, body }: Question): Promise<Answer> {
    const payload = body && JSON.stringify(body)
    const headers = {
      ...payload && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
      ...token && { authorization: `Bearer ${token}` }
    }
    const asking = request(origin + path, { agent, method, headers }).end(payload)
    asking.setTimeout(PATIENCE_MS, () => asking.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)))
    const [response] = await once(asking, 'response') as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    return { status: response.statusCode!, connection: response.headers.connection, body: text && JSON.parse(text) }
  }
}

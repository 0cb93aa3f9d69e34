import { write, type Request } from './bytes.ts'
import { openConnection, type Answer } from './connection.ts'

export type Client = ReturnType<typeof createClient>

/** Sends requests over one connection for as long as that is possible, then over the next. */
export function createClient (address: URL) {
  let connection: ReturnType<typeof openConnection> | undefined
  return { send, ask, close: () => connection?.close() }

  async function send (request: Request): Promise<Answer | undefined> {
    if (!connection || connection.isClosed) connection = openConnection(address)
    // What is announced may never come: the server is told that this is all.
    const isAll = request.odd.includes('framing')
    const answer = await connection.exchange(write(request), request.method, isAll)
    if (isAll || request.odd.includes('head') || !answer || answer.headers.connection === 'close') {
      connection.close()
      connection = undefined
    }
    return answer
  }

  /** The answer to a request as it should be. */
  async function ask (method: string, target: string, body?: object, accessToken?: string, headers: Request['headers'] = []): Promise<Answer> {
    const answer = await send(plain(method, target, body, accessToken, headers))
    if (!answer) throw new Error(`${method} ${target} is not answered`)
    return answer
  }
}

export function plain (method: string, target: string, body?: object, accessToken?: string, headers: Request['headers'] = []): Request {
  const all: Request['headers'] = [...headers]
  if (accessToken) all.push(['Authorization', `Bearer ${accessToken}`])
  if (body) all.push(['Content-Type', 'application/json'])
  return { method, target, headers: all, body: body ? Buffer.from(JSON.stringify(body)).toString('latin1') : '', framing: body ? 'length' : 'none', head: 'plain', odd: [] }
}

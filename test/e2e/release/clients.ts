import { once } from 'node:events'
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import { Agent, request } from 'node:https'
import { text } from 'node:stream/consumers'
import { NAME, type Nginx } from './nginx.ts'
import type { IncomingMessage } from 'node:http'
import type { Answer, Question } from '../../chaos/stops/client.ts'
import type { Test } from 'tap'

type Client = { ask: (origin: string, question: Question) => Promise<Answer>, readonly again: number }

const PATIENCE_MS = 30_000

/** Speaks HTTP/2 over one connection, and asks again what the other side says it did not look at (RFC 9113 section 8.7): GOAWAY, or a refused stream. */
export function createHttp2Client (t: Test, { certificates: ca }: Pick<Nginx, 'certificates'>): Client {
  const sessions = new Map<string, ClientHttp2Session>()
  const saidGoodbye = new WeakSet<ClientHttp2Session>()
  let again = 0
  t.teardown(() => sessions.forEach((session) => session.destroy()))
  return { ask, get again () { return again } }

  async function ask (origin: string, question: Question): Promise<Answer> {
    const session = sessionTo(origin)
    const { stream, answer } = send(session, question)
    try {
      return await answer
    } catch (error) {
      const wasNeverSent = stream.id === undefined && saidGoodbye.has(session)
      if (!wasNeverSent && stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM) throw error
      again++
    }
    return ask(origin, question)
  }

  function sessionTo (origin: string) {
    const known = sessions.get(origin)
    if (known && !known.closed && !known.destroyed) return known
    const session = connect(origin, { ca, servername: NAME })
    session.on('error', () => {})      // told by the streams
    session.on('goaway', () => saidGoodbye.add(session))
    sessions.set(origin, session)
    return session
  }
}

function send (session: ClientHttp2Session, { method = 'GET', path, token, body }: Question) {
  const stream = session.request({
    ':method': method,
    ':path': path,
    ':authority': NAME,
    ...token && { authorization: `Bearer ${token}` },
    ...body && { 'content-type': 'application/json' }
  })
  stream.setTimeout(PATIENCE_MS, () => stream.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)))
  stream.end(body && JSON.stringify(body))
  return { stream, answer: answerOf(stream) }
}

async function answerOf (stream: ClientHttp2Stream): Promise<Answer> {
  const [headers] = await once(stream, 'response')
  const body = await text(stream)
  return { status: headers[':status'], connection: undefined, body: body && JSON.parse(body) }
}

/**
 * Speaks HTTP/1.1, where a server may close an idle connection while a request is on its way and nobody can say whether it was read. So what may be
 * asked twice goes over connections that are kept, and is asked again when such a one breaks; all else has a connection of its own (RFC 9110 section 9.2.2).
 */
export function createHttp1Client (t: Test, { certificates: ca }: Pick<Nginx, 'certificates'>): Client {
  const agent = new Agent({ keepAlive: true, ca, servername: NAME })
  let again = 0
  t.teardown(() => agent.destroy())
  return { ask, get again () { return again } }

  async function ask (origin: string, question: Question): Promise<Answer> {
    const { method = 'GET', path, token, body } = question
    const payload = body && JSON.stringify(body)
    const headers = {
      host: NAME,
      ...payload && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
      ...token && { authorization: `Bearer ${token}` }
    }
    const asking = request(origin + path, { agent: method === 'GET' && agent, ca, servername: NAME, method, headers }).end(payload)
    asking.setTimeout(PATIENCE_MS, () => asking.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)))
    try {
      const [response] = await once(asking, 'response') as [IncomingMessage]
      const body = await text(response)
      return { status: response.statusCode!, connection: response.headers.connection, body: body && JSON.parse(body) }
    } catch (error) {
      if (!asking.reusedSocket) throw error
      again++
    }
    return ask(origin, question)
  }
}

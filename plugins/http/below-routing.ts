import { BadRequest, problemOf, RequestTimeout, type Refusal } from '../errors.ts'
import type { Socket } from 'node:net'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'

// As in `methods`.
const { STATUS_CODES } = process.getBuiltinModule('http')

/** `_httpMessage` is the answer that is to be sent next, `incoming` the request that is read, or was last. */
export type Connection = Socket & { _httpMessage?: ServerResponse & { req: IncomingMessage }, parser?: { incoming?: IncomingMessage | null } | null }
type Bare = { status: number, headers: Record<string, string>, body: string }

/** How long a client may still send, or wait for its answer, when one half of its connection is closed. */
const LINGER_MS = 1000

const HEAD = Buffer.from('HEAD ')

const refused = new WeakSet<Connection>()

/** Answers what Node's parser refused; an answer that has begun is not followed by another one. */
export function clientErrorHandler (this: FastifyInstance, error: Error & { code?: string }, socket: Connection) {
  // The parser goes on complaining about what a client goes on sending.
  if (refused.has(socket)) return
  refused.add(socket)
  const begun = socket._httpMessage
  if (error.code === 'ECONNRESET' || !socket.writable || (begun?.headersSent && !begun.writableEnded)) {
    socket.destroy()
    return
  }
  const { rawPacket } = error as { rawPacket?: Buffer }
  const isHead = !begun && rawPacket?.subarray(0, HEAD.length).equals(HEAD)
  inTurn(socket, () => {
    if (isAnswered(socket)) {
      hangUp(socket)
      return
    }
    const answer = bare(this, refusalOf(error), { reason: error.code })
    sendBare(socket, isHead ? { ...answer, body: '' } : answer)
  })
}

/** Whether the request that is being read has had its answer already: what then goes wrong with its body is told to nobody, who would take it for the next one's. */
function isAnswered ({ _httpMessage: begun, parser }: Connection) {
  const incoming = parser?.incoming
  if (!incoming || incoming.complete) return false
  return !begun || begun.writableEnded
}

function refusalOf ({ code }: { code?: string }): Refusal {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new RequestTimeout()
  if (code === 'HPE_HEADER_OVERFLOW') return Object.assign(new BadRequest('The head of the request is larger than 16 kB'), { statusCode: 431 })
  return new BadRequest('The request is not HTTP/1.1')
}

/** A refusal for which there is no reply: what it is answered with, in full. */
export function bare (app: FastifyInstance, error: Refusal, { raw, response, reason = error.message }: { raw?: IncomingMessage, response?: ServerResponse, reason?: string | undefined } = {}): Bare {
  const id = raw ? app.requestIdOf(raw) : app.nextId()
  const common = raw ? app.commonHeaders(raw, id, response) : { ...app.securityHeaders, 'x-request-id': id, 'x-correlation-id': id }
  const { status, headers, body } = problemOf(error, { id, correlationId: common['x-correlation-id']! })
  app.countRefused(status, body.code)
  app.log.info({ statusCode: status, requestId: id, reason }, 'request refused before routing')
  const text = JSON.stringify(body)
  return { status, body: text, headers: { ...common, ...headers, 'content-length': String(Buffer.byteLength(text)), connection: 'close' } }
}

/** Answers go in the order of the requests: `answer` comes after those to all requests that came in whole. */
export function inTurn (socket: Connection, answer: () => void) {
  const pending = socket._httpMessage
  if (pending?.req.complete && !pending.writableFinished) pending.once('finish', () => inTurn(socket, answer))
  else answer()
}

/** Sends an answer past Node, and closes. */
export function sendBare (socket: Connection, { status, headers, body }: Bare) {
  if (!socket.writable) return
  const head = Object.entries({ date: new Date().toUTCString(), ...headers }).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  hangUp(socket, `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head}\r\n${body}`)
}

function hangUp (socket: Socket, lastWords = '') {
  socket.end(lastWords)
  linger(socket)
}

/** To close at once, with bytes unread, would be a reset, which takes the answer away from the client. */
export function linger (socket: Socket) {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer)).resume()
}

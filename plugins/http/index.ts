import fp from 'fastify-plugin'
import { answer, BadRequest, MethodNotAllowed, NotFound, refusal } from '../errors.ts'
import { bare, inTurn, linger, sendBare, type Connection } from './below-routing.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'

const HOST = /^([\w.~!$&'()*+,;=%-]*|\[[\da-f:.]+\])(:\d*)?$/i   // RFC 3986 section 3.2.2
const VERSIONS = ['1.0', '1.1']
const MOST_PIPELINED = 100
const CHUNKED = /^[ ,]*chunked$/i

/** HTTP below and around routing: what the parser and the router refuse gets a problem document too. */
export default fp(async (app) => {
  app.addHook('onRequest', function refuseAmbiguity ({ raw, is404, route }, reply, done) {
    const ambiguity = ambiguityOf(raw)
    // Of what follows an offer to upgrade, Node's parser loses what came in the same piece.
    if (ambiguity || raw.headers.upgrade !== undefined) reply.header('connection', 'close')
    if (ambiguity) done(new BadRequest(ambiguity))
    else if (raw.headers.authorization !== undefined && count(raw, 'authorization') > 1) done(new BadRequest('One Authorization header is allowed'))
    // Before the body is looked at. @fastify/cors registers OPTIONS for every path there could be.
    else if (is404 || route.url === '*') done(new NotFound())
    else done()
  })

  // Who has said all there is to say may close that half of the connection; Node would take it for gone. And it would show us the
  // first thousand headers alone, where those that make a request ambiguous may come later: the size of the head is bound enough.
  Object.assign(app.server, { httpAllowHalfOpen: true, maxHeadersCount: 0 })
  app.server.on('connection', (socket: Socket) => socket.once('end', () => linger(socket)))

  // Node reads on, and keeps what is answered, for a client that sends requests and takes no answers.
  const waiting = new WeakMap<Socket, number>()
  app.server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    if (response.socket !== null) return
    const count = (waiting.get(socket) ?? 0) + 1
    waiting.set(socket, count)
    response.once('close', () => waiting.set(socket, waiting.get(socket)! - 1))
    if (count > MOST_PIPELINED) socket.destroy()
  })

  app.server.on('checkExpectation', (raw: IncomingMessage, response: ServerResponse) => {
    const error = Object.assign(new BadRequest('No expectation but 100-continue is met'), { statusCode: 417 })
    const { status, headers, body } = bare(app, error, { raw, response })
    response.writeHead(status, headers).end(body)
  })
  // Node leaves the socket of a CONNECT to us: an error nobody listens for would end the process, an open one would hold up its stop.
  app.server.on('connect', (raw: IncomingMessage, socket: Connection) => {
    socket.on('error', () => {})
    // Where nobody reads the answers before it, its own never has its turn.
    socket.setTimeout(app.config.REQUEST_TIMEOUT, () => socket.destroy())
    inTurn(socket, () => sendBare(socket, bare(app, refusal(new MethodNotAllowed(), { headers: { allow: '' } }), { raw })))
  })
}, { name: 'http', dependencies: ['config', 'errors', 'health', 'http-metrics', 'ids', 'rate-limit', 'route', 'security'] })

/** What two readers of this request could understand in two ways (RFC 9112 sections 3.2, 6.1 and 2.3). */
function ambiguityOf (raw: IncomingMessage): string | undefined {
  const { host = '', 'transfer-encoding': coding } = raw.headers
  if (count(raw, 'host') !== 1 || !isHost(host)) return 'Exactly one Host header is needed, and it names a host'
  if (!VERSIONS.includes(raw.httpVersion)) return 'The request is not HTTP/1.1'
  return coding !== undefined && (!CHUNKED.test(coding) || raw.httpVersion === '1.0') ? 'No transfer coding but chunked is known' : undefined
}

let latestHost: string | undefined

/** Nearly all requests are for the name that the one before them was for. */
function isHost (text: string) {
  if (text === latestHost) return true
  if (!HOST.test(text)) return false
  latestHost = text
  return true
}

function count ({ rawHeaders }: IncomingMessage, name: string) {
  let found = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i]!
    if (header.length === name.length && header.toLowerCase() === name) found++
  }
  return found
}

/** Answers what the router refuses before any hook runs: a malformed path, a parameter that is too long. */
export function frameworkErrors (error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  if (request.server.health.isDraining || ambiguityOf(request.raw) || request.raw.headers.upgrade !== undefined) reply.header('connection', 'close')
  answer(error, request, reply)
  request.server.countRefused(reply.statusCode, request.problem!)
  request.log.info({ method: request.method, route: null, statusCode: reply.statusCode }, 'request')
}

import fp from 'fastify-plugin'
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http'
import { v7 as uuidv7 } from 'uuid'
import { answer, BadRequest, MethodNotAllowed, NotFound, problemOf, refusal, RequestTimeout, type Refusal } from './errors.ts'
import type { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** HTTP below and around routing: what the parser and the router refuse gets a problem document too. */
export default fp(async (app) => {
  app.addHook('onRequest', async function refuseAmbiguity ({ raw, routeOptions }) {
    if (count(raw, 'host') !== 1) throw new BadRequest('Exactly one Host header is needed')
    if (count(raw, 'authorization') > 1) throw new BadRequest('One Authorization header is allowed')
    // @fastify/cors registers OPTIONS for every path there could be.
    if (routeOptions.url === '*') throw new NotFound()
  })

  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    const { status, headers, body } = belowRouting(app, Object.assign(new BadRequest('No expectation but 100-continue is met'), { statusCode: 417 }))
    response.writeHead(status, headers).end(body)
  })
  // Node leaves the socket of a CONNECT to us: an error nobody listens for would end the process, an open one would hold up its stop.
  app.server.on('connect', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => {})
    writeRaw(socket, belowRouting(app, refusal(new MethodNotAllowed(), { headers: { allow: '' } })))
    socket.destroySoon()
  })
}, { name: 'http', dependencies: ['errors', 'security', 'rate-limit'] })

function count ({ rawHeaders }: IncomingMessage, name: string) {
  return rawHeaders.filter((header, i) => i % 2 === 0 && header.toLowerCase() === name).length
}

/** Answers what Node's parser refused; a response that has begun cannot take a second one. */
export function clientErrorHandler (this: FastifyInstance, error: Error & { code?: string }, socket: Socket & { _httpMessage?: ServerResponse }) {
  if (error.code === 'ECONNRESET' || !socket.writable || socket._httpMessage?.headersSent) {
    socket.destroy()
    return
  }
  writeRaw(socket, belowRouting(this, refusalOf(error), error.code))
}

function refusalOf ({ code }: { code?: string }): Refusal {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new RequestTimeout()
  if (code === 'HPE_HEADER_OVERFLOW') return Object.assign(new BadRequest('The head of the request is larger than 16 kB'), { statusCode: 431 })
  return new BadRequest('The request is not HTTP/1.1')
}

function belowRouting (app: FastifyInstance, error: Refusal, reason = error.message) {
  const requestId = uuidv7()
  const { status, headers, body } = problemOf(error, { id: requestId, correlationId: requestId })
  app.log.info({ statusCode: status, requestId, reason }, 'request refused before routing')
  const text = JSON.stringify(body)
  return {
    status,
    body: text,
    headers: { ...app.securityHeaders, ...headers, 'x-request-id': requestId, 'content-length': String(Buffer.byteLength(text)), connection: 'close' }
  }
}

function writeRaw (stream: Duplex, { status, headers, body }: ReturnType<typeof belowRouting>) {
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  stream.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head}\r\n${body}`)
}

/** Answers what the router refuses before any hook runs: a malformed path, a parameter that is too long. */
export function frameworkErrors (error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  // Requests get their decorations where there is a route.
  const correlationId = request.server.correlationIdOf(request.raw, request.id)
  Object.assign(request, { correlationId })
  reply.headers({ ...request.server.securityHeaders, 'x-request-id': request.id, 'x-correlation-id': correlationId })
  answer(error, request, reply)
  request.log.info({ method: request.method, route: null, statusCode: reply.statusCode }, 'request')
}

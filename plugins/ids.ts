import * as crypto from 'node:crypto'
import fp from 'fastify-plugin'
import { v7 as uuidv7 } from 'uuid'
import type { FastifyRequest } from 'fastify'
import type { IncomingMessage } from 'node:http'

declare module 'fastify' {
  interface FastifyInstance {
    /** A new UUID v7. */
    nextId: () => string
    requestIdOf: (raw: IncomingMessage) => string
    correlationIdOf: (raw: IncomingMessage, requestId: string) => string
  }
  interface FastifyRequest {
    /** The caller's x-correlation-id, or the request's own id. */
    readonly correlationId: string
  }
}

const ACCEPTED = /^[A-Za-z0-9._-]{1,128}$/
// Node's own, which it has since 24.16, takes half as long.
const { randomUUIDv7 = uuidv7 } = crypto
const nextId: () => string = randomUUIDv7
const accepted = (id: string | string[] | undefined) => typeof id === 'string' && ACCEPTED.test(id) ? id : undefined
const correlationIdOf = (raw: IncomingMessage, requestId: string) => accepted(raw.headers['x-correlation-id']) ?? requestId

/** The caller's x-request-id if it is one, else a new one. */
export const requestIdOf = (raw: IncomingMessage) => accepted(raw.headers['x-request-id']) ?? nextId()

export default fp(async (app) => {
  app.decorate('nextId', nextId)
  app.decorate('requestIdOf', requestIdOf)
  app.decorate('correlationIdOf', correlationIdOf)
  app.decorateRequest('correlationId', {
    getter (this: FastifyRequest) { return correlationIdOf(this.raw, this.id) }
  })
}, { name: 'ids' })

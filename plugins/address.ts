import { isIP } from 'node:net'
import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** The client's IP address, without port and zone; undefined where nobody tells, or what a proxy tells is no address. */
    readonly address: string | undefined
  }
}

export function addressOf (ip: string | undefined): string | undefined {
  const bare = ip?.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1').replace(/%.*$/, '')
  return bare !== undefined && isIP(bare) > 0 ? bare : undefined
}

export default fp(async (app) => {
  app.decorateRequest('address', {
    getter (this: FastifyRequest) { return addressOf(this.ip) }
  })
}, { name: 'address' })

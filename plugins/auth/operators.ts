import { hash, timingSafeEqual } from 'node:crypto'
import fp from 'fastify-plugin'
import { Unauthorized } from '../errors.ts'
import type { FastifyInstance, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** Guards every route of this scope with OPS_TOKEN, where it is set, which production insists on. */
    guardOperators: () => void
  }
  interface FastifyContextConfig {
    isForOperators?: boolean
  }
}

const SCHEME = /^bearer +/i

const digest = (text: string) => hash('sha256', text, 'buffer')

/** For operators and their tools, who are served under pressure too, and whose calls count for no limit, but for failures, which count for the address. */
export default fp(async (app) => {
  const { OPS_TOKEN: token } = app.config
  const expected = token && digest(token)

  app.decorate('guardOperators', function (this: FastifyInstance) {
    this.addHook('onRoute', function declareGuard (route) {
      route.config = { ...route.config, isForOperators: true, limit: 'none' }
    })
    this.addHook('onRequest', async function authenticateOperator (request, reply) {
      if (!expected || timingSafeEqual(digest(presented(request)), expected)) return
      await app.limits.take(request, reply, ['address'])
      throw new Unauthorized()
    })
  })
}, { name: 'operators', dependencies: ['config', 'errors', 'rate-limit'] })

const presented = ({ headers: { authorization = '' } }: FastifyRequest) => SCHEME.test(authorization) ? authorization.replace(SCHEME, '') : ''

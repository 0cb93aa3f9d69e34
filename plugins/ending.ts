import fp from 'fastify-plugin'
import type { FastifyReply, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** Calls back once for each request: when its answer is written, or when its client has left before that. */
    onEnd: (listener: OnEnd) => void
  }
}

type OnEnd = (request: FastifyRequest, reply: FastifyReply, hasLeft: boolean) => void

/** The end of a request, however it comes: Fastify's onResponse does not tell of clients that leave. One listener serves all. */
export default fp(async (app) => {
  const listeners: OnEnd[] = []
  app.decorate('onEnd', (listener) => listeners.push(listener))

  app.addHook('onRequest', function awaitEnd (request, reply, done) {
    reply.raw.on('close', () => {
      const hasLeft = !reply.raw.writableEnded
      for (const tell of listeners) tell(request, reply, hasLeft)
    })
    done()
  })
}, { name: 'ending' })

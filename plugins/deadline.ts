import { AsyncLocalStorage } from 'node:async_hooks'
import fp from 'fastify-plugin'
import { ClientLeft, declined, RequestTimeout } from './errors.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from './errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The deadline of the request that this is done for, wherever it is asked; none in the background. */
    deadline: () => AbortSignal | undefined
  }
  interface FastifyRequest {
    /** Aborted when the time for an answer is over or the client has left: what is waited for then is waited for in vain. */
    deadline: AbortSignal
  }
  interface FastifyContextConfig {
    /** Longest time an answer of this route may take, ms, where that is less than REQUEST_TIMEOUT. */
    timeout?: number
    /** What was asked for is done although the client has left meanwhile. */
    outlivesClient?: boolean
  }
}

/**
 * A time within which each request is answered, and the end of all work for it when that is over. Fastify's own `handlerTimeout`
 * and `request.signal` tell of a client that left only until the body is read.
 */
export default fp(async (app) => {
  const { REQUEST_TIMEOUT: longestMs } = app.config
  const current = new AsyncLocalStorage<AbortSignal>()
  app.decorate('deadline', () => current.getStore())
  app.decorateRequest('deadline')

  app.addHook('onRequest', function setDeadline (request, reply, done) {
    const { timeout = longestMs, outlivesClient = false } = request.routeOptions.config
    const controller = new AbortController()
    const timer = setTimeout(expire, Math.min(timeout, longestMs), request, reply, controller).unref()
    request.deadline = controller.signal
    reply.raw.once('close', () => {
      const hasLeft = !reply.raw.writableEnded
      if (hasLeft && outlivesClient) return
      clearTimeout(timer)
      if (hasLeft) controller.abort(new ClientLeft())
    })
    done()
  })

  app.addHook('onRoute', function endWithDeadline (route) {
    const { handler } = route
    route.handler = function (request, reply) {
      request.deadline.throwIfAborted()
      const answer = current.run(request.deadline, () => handler.call(this, request, reply) as unknown)
      return isThenable(answer) ? inTime(answer, request) : answer
    }
  })
}, { name: 'deadline', dependencies: ['config', 'errors'] })

// Whose body, if there is one, nobody waits for.
const BODILESS = ['GET', 'HEAD']

function expire (request: FastifyRequest, reply: FastifyReply, controller: AbortController) {
  if (reply.raw.headersSent) return
  const isComing = request.raw.complete === false && !BODILESS.includes(request.method)
  if (isComing) reply.header('connection', 'close').send(new RequestTimeout())
  else controller.abort(declined('the time for an answer is over'))
}

const isThenable = (value: unknown): value is PromiseLike<unknown> => typeof (value as PromiseLike<unknown> | undefined)?.then === 'function'

/** The answer, or the deadline's reason; what the answer then fails with is for the log alone. */
function inTime (answer: PromiseLike<unknown>, { deadline, log }: FastifyRequest) {
  return new Promise<unknown>((resolve, reject) => {
    deadline.addEventListener('abort', () => reject(deadline.reason), { once: true })
    answer.then(resolve, (error) => {
      if (deadline.aborted && isFailure(error)) log.error({ err: error }, 'failed after the request had ended')
      reject(error)
    })
  })
}

const isFailure = ({ statusCode = 500, reason }: Refusal) => statusCode >= 500 && reason === undefined

import { AsyncLocalStorage } from 'node:async_hooks'
import fp from 'fastify-plugin'
import { ClientLeft, declined, RequestTimeout } from './errors.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Refusal } from './errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The deadline of the request that this is done for, wherever it is asked; none in the background. */
    deadline: () => Deadline | undefined
    /** For what is done on behalf of others too: the end of one request does not end it. */
    beyondDeadline: <Result>(work: () => Result) => Result
  }
  interface FastifyRequest {
    deadline: Deadline
  }
  interface FastifyContextConfig {
    /** Longest time an answer of this route may take, ms, where that is less than REQUEST_TIMEOUT. */
    timeout?: number
    /** What was asked for is done although the client has left meanwhile. */
    outlivesClient?: boolean
  }
}

/**
 * A time within which each request but a probe is answered, and the end of all work for it when that is over. Fastify's own `handlerTimeout`
 * and `request.signal` tell of a client that left only until the body is read.
 */
export default fp(async (app) => {
  const { REQUEST_TIMEOUT: longestMs } = app.config
  const current = new AsyncLocalStorage<Deadline | undefined>()
  app.decorate('deadline', () => current.getStore())
  app.decorate('beyondDeadline', (work) => current.run(undefined, work))
  app.decorateRequest('deadline')

  app.addHook('onRequest', function setDeadline (request, reply, done) {
    const { timeout = longestMs, isProbe } = request.route.config
    request.deadline = new Deadline()
    if (!isProbe) request.deadline.timer = setTimeout(expire, Math.min(timeout, longestMs), request, reply).unref()
    done()
  })

  app.onEnd(({ deadline, route }, reply, hasLeft) => {
    if (hasLeft && route.config.outlivesClient) return
    clearTimeout(deadline.timer)
    if (hasLeft) deadline.end(new ClientLeft())
  })

  app.addHook('onRoute', function endWithDeadline (route) {
    const { handler } = route
    if (route.config?.isProbe) return
    route.handler = function (request, reply) {
      const { deadline } = request
      deadline.throwIfAborted()
      const answer = current.run(deadline, () => handler.call(this, request, reply) as unknown)
      return isThenable(answer) ? inTime(answer, request) : answer
    }
  })
}, { name: 'deadline', dependencies: ['config', 'ending', 'errors', 'route'] })

/** As much of an AbortSignal as is made use of here: a real one serves as well. */
export interface Signal {
  readonly aborted: boolean
  readonly reason: unknown
  throwIfAborted: () => void
  addEventListener: (type: 'abort', listener: () => void) => void
  removeEventListener: (type: 'abort', listener: () => void) => void
}

/**
 * Aborted when the time for an answer is over or the client has left: what is waited for then is waited for in vain. To make an
 * AbortController and listen to it would take a small request longer than all the rest of this.
 */
export class Deadline implements Signal {
  timer: NodeJS.Timeout | undefined
  reason: Error | undefined
  #listeners: (() => void)[] = []

  get aborted () { return this.reason !== undefined }

  throwIfAborted () {
    if (this.reason) throw this.reason
  }

  addEventListener (type: 'abort', listener: () => void) {
    this.#listeners.push(listener)
  }

  removeEventListener (type: 'abort', listener: () => void) {
    this.#listeners = this.#listeners.filter((other) => other !== listener)
  }

  /** Once: the first reason is the one that counts. */
  end (reason: Error) {
    if (this.aborted) return
    this.reason = reason
    for (const tell of this.#listeners) tell()
  }
}

// Whose body, if there is one, nobody waits for.
const BODILESS = ['GET', 'HEAD']

function expire (request: FastifyRequest, reply: FastifyReply) {
  if (reply.raw.headersSent) {
    // From now on it has to get on: who reads nothing for as long again is not waited for.
    request.raw.socket.setTimeout(request.server.config.REQUEST_TIMEOUT)
    return
  }
  const isComing = request.raw.complete === false && !BODILESS.includes(request.method)
  if (isComing) reply.header('connection', 'close').send(new RequestTimeout())
  else request.deadline.end(declined('the time for an answer is over'))
}

const isThenable = (value: unknown): value is PromiseLike<unknown> => typeof (value as PromiseLike<unknown> | undefined)?.then === 'function'

/** The answer, or the deadline's reason; what the answer then fails with is for the log alone. */
function inTime (answer: PromiseLike<unknown>, { deadline, log }: FastifyRequest) {
  return new Promise<unknown>((resolve, reject) => {
    deadline.addEventListener('abort', () => reject(deadline.reason))
    answer.then(resolve, (error) => {
      if (deadline.aborted && isFailure(error)) log.error({ err: error }, 'failed after the request had ended')
      reject(error)
    })
  })
}

const isFailure = ({ statusCode = 500, reason }: Refusal) => statusCode >= 500 && reason === undefined

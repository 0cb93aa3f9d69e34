import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance { within: typeof within }
}

/** The work's own end, or an error after so long, counted from the end of this turn, when what is to be sent has left. */
export async function within<Result> (ms: number, work: Promise<Result>, missing = 'no answer'): Promise<Result> {
  let timer: NodeJS.Timeout | undefined
  let leaving: NodeJS.Immediate | undefined
  const late = new Promise<never>((resolve, reject) => {
    // A loop that was held up runs timers before it reads what has come meanwhile.
    const expire = () => setImmediate(() => reject(new Error(`${missing} within ${ms} ms`)))
    leaving = setImmediate(() => { timer = setTimeout(expire, ms) })
  })
  return Promise.race([work, late]).finally(() => {
    clearImmediate(leaving)
    clearTimeout(timer)
  })
}

export default fp(async (app) => {
  app.decorate('within', within)
}, { name: 'within' })

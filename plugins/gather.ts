import { setImmediate as turnEnd } from 'node:timers/promises'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance { gather: typeof gather }
}

type Enter<Result> = (work: () => Promise<Result>) => Promise<Result>

const MOST_KEYS = 200

/**
 * Does in one go what is asked for within one turn of the event loop, each key once; what gets no value is undefined. It is done for
 * all who ask, so that none should be able to end it. Where `enter` has it wait for others, who comes meanwhile joins.
 */
export function gather<Key, Value> (doAll: (keys: Key[]) => Promise<Map<Key, Value>>, enter: Enter<Map<Key, Value>> = (work) => work()) {
  let next: { keys: Set<Key>, values: Promise<Map<Key, Value>> } | undefined

  return function one (key: Key): Promise<Value | undefined> {
    if (!next || next.keys.size === MOST_KEYS) next = begin()
    next.keys.add(key)
    return next.values.then((values) => values.get(key))
  }

  function begin () {
    const keys = new Set<Key>()
    const close = () => { if (next?.keys === keys) next = undefined }
    const values = turnEnd().then(() => enter(async () => {
      close()
      return doAll([...keys])
    })).finally(close)      // it may not have been let in
    return { keys, values }
  }
}

export default fp(async (app) => {
  app.decorate('gather', gather)
}, { name: 'gather' })

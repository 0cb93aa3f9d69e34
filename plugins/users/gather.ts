import { setImmediate as turnEnd } from 'node:timers/promises'

/** Reads in one go what is asked for within one turn of the event loop. It is done for all of them, so that none should be able to end it. */
export function gather<Value> (readAll: (keys: string[]) => Promise<Map<string, Value>>) {
  let next: { keys: Set<string>, values: Promise<Map<string, Value>> } | undefined

  return async function read (key: string): Promise<Value | undefined> {
    next ??= begin()
    next.keys.add(key)
    const values = await next.values
    return values.get(key)
  }

  function begin () {
    const keys = new Set<string>()
    const values = turnEnd().then(() => {
      next = undefined
      return readAll([...keys])
    })
    return { keys, values }
  }
}

import type { Cluster, Redis } from 'ioredis'
import type { gather } from '../gather.ts'
import type { Argument, FastPath } from './index.ts'

type Needs = {
  client: Redis | Cluster
  /** For so many calls, all of which fail where it does. */
  run: <Result>(use: () => Promise<Result>, calls: number) => Promise<Result>
  gather: typeof gather
}
type Scripted = Record<string, (...args: Argument[]) => Promise<unknown[]>>

/** A script that does for many calls what `lua` does for one; an answer that is nothing would end the list of them. */
const forEach = (lua: string, keys: number) => `
  local function each (KEYS, ARGV) ${lua}
  end
  local calls = #KEYS / ${keys}
  local arguments = #ARGV / calls
  local answers = {}
  for i = 1, calls do
    answers[i] = each({ unpack(KEYS, (i - 1) * ${keys} + 1, i * ${keys}) }, { unpack(ARGV, (i - 1) * arguments + 1, i * arguments) }) or false
  end
  return answers`

/**
 * Scripts of which all calls of one turn of the event loop are one: sending, and asking for the answer, takes far longer than what
 * is done for one of them. In a cluster each is made alone, since its keys may be anywhere, and so where one server behaves as such.
 */
export function createScripts ({ client, run, gather }: Needs): FastPath['script'] {
  let isCluster = 'nodes' in client

  return (name, lua, keys) => {
    client.defineCommand(name, { lua: forEach(lua, keys) })
    const script = (client as unknown as Scripted)[name]!.bind(client)
    const together = gather(callAll)
    let length: number | undefined

    return async <Result>(...args: Argument[]) => {
      length ??= args.length
      if (args.length !== length) throw new TypeError(`${name} was called with ${length} arguments before`)
      return await (isCluster ? alone(args) : together(args)) as Result
    }

    async function alone (args: Argument[]) {
      return (await callAll([args])).get(args)
    }

    async function callAll (calls: Argument[][]) {
      const answers = await run(() => evaluate(calls), calls.length)
      return new Map(calls.map((args, i) => [args, answers[i]]))
    }

    async function evaluate (calls: Argument[][]): Promise<unknown[]> {
      const keysOfAll = calls.flatMap((args) => args.slice(0, keys))
      try {
        return await script(keysOfAll.length, ...keysOfAll, ...calls.flatMap((args) => args.slice(keys)))
      } catch (error) {
        if (calls.length === 1 || !(error as Error).message.startsWith('CROSSSLOT')) throw error
        isCluster = true
        const answers = await Promise.all(calls.map((args) => evaluate([args])))
        return answers.flat(1)
      }
    }
  }
}

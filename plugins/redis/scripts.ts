import type { Cluster, Redis } from 'ioredis'
import type { gather } from '../gather.ts'
import type { Argument, FastPath, Script } from './index.ts'

type Needs = {
  client: Redis | Cluster
  /** For so many calls, all of which fail where it does. */
  run: <Result>(use: () => Promise<Result>, calls: number) => Promise<Result>
  gather: typeof gather
}
type Scripted = Record<string, (...args: Argument[]) => Promise<unknown[]>>

/** Lua that does for many calls what `each` does for one; an answer that is nothing would end the list of them. */
const forAll = ({ keys, args = [], once = '', each }: Script) => `
  ${once}
  local function each (${[...keys, ...args].join(', ')}) ${each}
  end
  local answers = {}
  for i = 0, #KEYS / ${keys.length} - 1 do
    answers[i + 1] = each(${[...partsOf('KEYS', keys.length), ...partsOf('ARGV', args.length)].join(', ')}) or false
  end
  return answers`

const partsOf = (list: string, length: number) => Array.from({ length }, (_, part) => `${list}[i * ${length} + ${part + 1}]`)

/**
 * Scripts of which all calls of one turn of the event loop are one: sending, and asking for the answer, takes far longer than what
 * is done for one of them. In a cluster each is made alone, since its keys may be anywhere, and so where one server behaves as such.
 */
export function createScripts ({ client, run, gather }: Needs): FastPath['script'] {
  let isCluster = 'nodes' in client

  return (name, script) => {
    const { length: keys } = script.keys
    client.defineCommand(name, { lua: forAll(script) })
    const command = (client as unknown as Scripted)[name]!.bind(client)
    const together = gather(callAll)

    return <Result>(...args: Argument[]) => (isCluster ? alone(args) : together(args)) as Promise<Result>

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
        return await command(keysOfAll.length, ...keysOfAll, ...calls.flatMap((args) => args.slice(keys)))
      } catch (error) {
        if (calls.length === 1 || !(error as Error).message.startsWith('CROSSSLOT')) throw error
        isCluster = true
        const answers = await Promise.all(calls.map((args) => evaluate([args])))
        return answers.flat(1)
      }
    }
  }
}

import type { Cluster, Redis } from 'ioredis'
import type { gather } from '../gather.ts'
import type { FastPath } from './index.ts'

export type Argument = string | number
type Needs = {
  client: Redis | Cluster
  /** For so many calls: where it fails all of them do. */
  run: <Result>(use: () => Promise<Result>, calls: number) => Promise<Result>
  gather: typeof gather
}
type Scripted = Record<string, (...args: Argument[]) => Promise<unknown[]>>

/** A script that does for many calls what `lua` does for one: what they share, an answer for each is far less than each alone. */
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

/** Scripts of which all calls of one turn of the event loop are one; in a cluster each is made alone, since its keys may be anywhere. */
export function createScripts ({ client, run, gather }: Needs): FastPath['script'] {
  return (name, lua, keys) => {
    client.defineCommand(name, { lua: forEach(lua, keys) })
    const script = (client as unknown as Scripted)[name]!.bind(client)
    const call = 'nodes' in client ? async (args: Argument[]) => (await callAll([args])).get(args) : gather(callAll)
    return async <Result>(...args: Argument[]) => await call(args) as Result

    async function callAll (calls: Argument[][]) {
      const keysOfAll = calls.flatMap((args) => args.slice(0, keys))
      const answers = await run(() => script(keysOfAll.length, ...keysOfAll, ...calls.flatMap((args) => args.slice(keys))), calls.length)
      return new Map(calls.map((args, i) => [args, answers[i]]))
    }
  }
}

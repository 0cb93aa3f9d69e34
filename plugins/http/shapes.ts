import { Socket } from 'node:net'
import type { ServerResponse } from 'node:http'

// As in `methods`.
const { IncomingMessage } = process.getBuiltinModule('http')

const SETTLED_AFTER = 7

/**
 * V8 decides with the seventh object of a class how many properties each has room for, by those that it knows of then ("slack tracking"). Had it just collected
 * garbage, as between two probes of a process that has nothing else to do, it would know of none, and sockets, requests and responses, whose properties are named by
 * symbols as well, would be slow dictionaries for as long as the process lives.
 */
export function settleShapes (Response: typeof ServerResponse) {
  const alive: ServerResponse[] = []
  while (alive.length < SETTLED_AFTER) alive.push(new Response(new IncomingMessage(new Socket())))
}

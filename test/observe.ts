import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { contractOf } from './contract.ts'
import type { FastifyInstance } from 'fastify'
import type { ServerResponse } from 'node:http'
import type { Test } from 'tap'

let contract: ReturnType<typeof contractOf> | undefined

/** Builds the app so that each of its answers is held against the OpenAPI document: what is not documented fails the test. */
export async function observed (t: Test, build: () => Promise<FastifyInstance>) {
  // The first instance is the app's; Fastify tells of it before anything is registered, so that this hook comes before all others.
  const watchFirst = (message: unknown) => {
    unsubscribe('fastify.initialization', watchFirst)
    watch(t, (message as { fastify: FastifyInstance }).fastify)
  }
  subscribe('fastify.initialization', watchFirst)
  return build()
}

function watch (t: Test, app: FastifyInstance) {
  app.addHook('onRequest', async ({ method, routeOptions }, { raw }) => {
    const sent = record(raw)
    raw.once('finish', () => {
      const found = committed().violation({ method, path: routeOptions.url ?? 'nowhere', status: raw.statusCode, ...sent() })
      if (found) t.fail(found)
    })
  })
}

/** The contract of the document that openapi.test.ts holds against the one that is served: to make that anew for each app would take longer than all else. */
function committed () {
  contract ??= contractOf(JSON.parse(readFileSync(join(import.meta.dirname, '../deploy/openapi.json'), 'utf8')))
  return contract
}

/** Notes what is sent, as it passes; `end` may call `write` itself, and Node sends no body with a 304. */
function record (response: ServerResponse) {
  const chunks: Buffer[] = []
  let headers: Record<string, unknown> = {}
  let depth = 0
  for (const name of ['writeHead', 'write', 'end'] as const) {
    const original = response[name]
    response[name] = function (this: ServerResponse, ...args: unknown[]) {
      if (name === 'writeHead') headers = args.at(-1) as typeof headers
      else if (depth++ === 0 && (typeof args[0] === 'string' || args[0] instanceof Uint8Array)) chunks.push(Buffer.from(args[0] as string))
      try {
        return Reflect.apply(original, this, args)
      } finally {
        if (name !== 'writeHead') depth--
      }
    }
  }
  return () => ({ headers: { ...response.getHeaders(), ...headers }, body: response.statusCode === 304 ? '' : Buffer.concat(chunks).toString() })
}

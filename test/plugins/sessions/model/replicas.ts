import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../../../eventually.ts'
import { bearer, build, post } from '../../../helper.ts'
import { makeKey, setOf } from '../../auth/forge.ts'
import { ABSOLUTE, ACCESS, GRACE, IDLE, SESSION_LIMIT, SKEW } from '../model.ts'
import { createDatabase, TICK_SECONDS } from './database.ts'
import { SECRETS } from './tokens.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

export type Request = { method: string, path: string, body?: object, accessToken?: string }
export type Response = { status: number, body: string }
type Replica = { app: FastifyInstance, origin: string, agent: Agent }
export type Service = Awaited<ReturnType<typeof startReplicas>>

/** A change of secrets under way: two replicas know both of them, a third has left the old one behind. */
export const KNOWN_SECRETS = [[0, 1], [1, 0], [1]]

const seconds = (ticks: number) => String(Math.round(ticks * TICK_SECONDS))
const SETTINGS = {
  SESSION_LIMIT: String(SESSION_LIMIT),
  REFRESH_GRACE_SECONDS: seconds(GRACE),
  ACCESS_TOKEN_TTL: seconds(ACCESS - SKEW),
  REFRESH_IDLE_TTL: seconds(IDLE),
  REFRESH_ABSOLUTE_TTL: seconds(ABSOLUTE),
  DB_QUERY_TIMEOUT: '20000',
  DB_CONNECT_TIMEOUT: '20000'
}
const DEADLINE_MS = 20_000
const DONE = { status: 204, body: '' }

/** Three replicas of the service that listen, with one database and one file of keys. */
export async function startReplicas (t: Test) {
  const keys = createKeyFile(t)
  const replicas: Replica[] = []
  for (const known of KNOWN_SECRETS) {
    const secrets = known.map((secret) => SECRETS[secret]).join()
    const app = await build(t, { ...SETTINGS, JWT_KEYS: undefined, JWT_KEYS_FILE: keys.file, REFRESH_TOKEN_SECRET: secrets })
    const agent = new Agent({ keepAlive: true })
    t.teardown(() => agent.destroy())
    replicas.push({ app, agent, origin: await app.listen({ port: 0, host: '127.0.0.1' }) })
  }

  return {
    ...createDatabase(t),
    keyOf: keys.keyOf,

    disable: (email: string) => byOperator(email, 'disable'),
    enable: (email: string) => byOperator(email, 'enable'),

    /** Over a connection of its own, if need be. */
    ask (replica: number, { method, path, body, accessToken }: Request): Promise<Response> {
      const { origin, agent } = replicas[replica]!
      const text = body && JSON.stringify(body)
      const headers = {
        ...accessToken && bearer(accessToken),
        ...text && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
      }
      return new Promise((resolve, reject) => {
        const outgoing = request(`${origin}${path}`, { method, agent, headers, signal: AbortSignal.timeout(DEADLINE_MS) }, (incoming) => {
          let received = ''
          incoming.setEncoding('utf8').on('data', (chunk) => { received += chunk })
            .once('error', reject)
            .once('end', () => resolve({ status: incoming.statusCode!, body: received }))
        })
        outgoing.once('error', reject).end(text)
      })
    },

    // What only looks needs no connection.
    get: async (replica: number, url: string, accessToken: string) => responseOf(await replicas[replica]!.app.inject({ url, headers: bearer(accessToken) })),
    post: async (replica: number, url: string, payload: object) => responseOf(await post(replicas[replica]!.app, url, payload)),

    /** Has all replicas read which sessions were ended, as they do by themselves every 400 ms, unless they know that these were. */
    async hear (ids: string[]) {
      await twice(async ({ revocations }) => {
        const known = await Promise.all(ids.map((id) => revocations.isRevoked(id)))
        // A read that takes too long is given up, and the next one begins.
        if (known.includes(false)) await eventually(() => revocations.refresh().then(() => true, () => false))
      })
    },

    /** Has all replicas read these keys, as they do by themselves every 10 s. */
    async setKeys (numbers: number[]) {
      if (keys.write(numbers)) await twice((app) => app.keys.reread())
    }
  }

  /** As `npm run users` does it. */
  async function byOperator (email: string, verb: 'disable' | 'enable') {
    const { users } = replicas[0]!.app
    const user = await users.find(email)
    await (user && users[verb](user.id).catch(unlessGone))
    return DONE
  }

  // The first time may join a read that was under way before.
  async function twice (read: (app: FastifyInstance) => Promise<void>) {
    for (let time = 0; time < 2; time++) await Promise.all(replicas.map(({ app }) => read(app)))
  }
}

function unlessGone (error: { code?: string }) {
  if (error.code !== 'NOT_FOUND') throw error
}

const responseOf = ({ statusCode, body }: Awaited<ReturnType<typeof post>>): Response => ({ status: statusCode, body })

/** A file with one key to begin with; the newest one signs. */
function createKeyFile (t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'microts-model-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'keys.json')
  const keys: ReturnType<typeof makeKey>[] = []
  let current = ''
  write([0])
  return { file, keyOf, write }

  function keyOf (number: number) {
    while (keys.length <= number) keys.push(makeKey({ nbf: keys.length }))
    return keys[number]!
  }

  /** Whether that changes anything. */
  function write (numbers: number[]) {
    const text = setOf(...numbers.map(keyOf))
    if (text === current) return false
    current = text
    writeFileSync(`${file}.next`, text)
    renameSync(`${file}.next`, file)
    return true
  }
}

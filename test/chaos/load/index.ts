import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { PASSWORD, sql } from '../../helper.ts'
import { createClient, type Answer } from '../client.ts'
import { findLosses, type Query } from './losses.ts'
import { live, verbsOf, type Resident } from './resident.ts'
import type { Test } from 'tap'

export type Load = Awaited<ReturnType<typeof startLoad>>

const USERS = { residents: 6, readers: 3, newcomers: 3 }
const MOST_AT_A_TIME = 200
const PATIENCE_MS = 10_000
const LATER_MS = 1000      // Retry-After
// Users are many and do not wait for each other: these ask again before they are answered.
const EVERY_MS = { look: 33, signIn: 100, probe: 100 }

/** About 130 requests of all kinds a second: what was answered, and what was acknowledged. */
export async function startLoad (t: Test, address: string, query: Query = sql) {
  const client = createClient(address)
  t.teardown(client.close)
  const giveUpAt = performance.now() + PATIENCE_MS
  const [residents, readers, newcomers] = await Promise.all([registered(USERS.residents), registered(USERS.readers), registered(USERS.newcomers)])
  const answers: Answer[] = []
  const pending = new Set<Promise<unknown>>()
  const end = new AbortController()
  const despair = new AbortController()
  const lives = residents.map((resident) => live(resident, ask, end.signal, despair.signal))
  const timers = [
    every(EVERY_MS.look, (i) => verbsOf(readers[i % readers.length]!, ask).look()),
    every(EVERY_MS.signIn, (i) => verbsOf(newcomers[i % newcomers.length]!, ask).signIn()),
    every(EVERY_MS.probe, (i) => ask(i % 2 ? 'GET /health' : 'GET /.well-known/jwks.json')),
    every(EVERY_MS.probe, () => ask('GET /ready')),
    every(EVERY_MS.probe, () => ask('GET /status'))
  ]
  t.teardown(() => {
    quit()
    despair.abort()
  })

  return {
    answers,
    client,
    residents,

    /** Ends when all that was asked is answered. */
    async stop () {
      quit()
      setTimeout(() => despair.abort(), PATIENCE_MS).unref()
      await Promise.all([...lives, ...pending])
    },

    /** What was acknowledged and is not so, now that it has stopped. */
    losses: () => findLosses(residents, client, query),

    /** So many more requests, to be called when it has stopped. */
    async burst (count: number) {
      const answers = await Promise.all(residents.map(async (resident) => {
        const { look, renew, rename } = verbsOf(resident, client.ask)
        const mine: Answer[] = []
        while (mine.length < count / residents.length) mine.push(await look(), await renew(), await rename())
        return mine
      }))
      return answers.flat()
    }
  }

  async function registered (count: number): Promise<Resident[]> {
    return Promise.all(Array.from({ length: count }, register))
  }

  /** Whoever is told to come later comes later: what is measured has not begun. */
  async function register (): Promise<Resident> {
    const email = `${randomUUID()}@example.com`
    const { status, body } = await client.ask('POST /auth/register', { payload: { email, password: PASSWORD } })
    if (status === 503 && performance.now() < giveUpAt) return delay(LATER_MS).then(register)
    if (status !== 201) throw new Error(`register answered ${status} ${JSON.stringify(body)}`)
    return { email, accessToken: body.accessToken, refreshToken: body.refreshToken, name: null, perhaps: [], ended: [] }
  }

  async function ask (...what: Parameters<typeof client.ask>) {
    const answer = await client.ask(...what)
    answers.push(answer)
    return answer
  }

  function every (ms: number, act: (i: number) => Promise<unknown>) {
    let i = 0
    return setInterval(() => {
      if (pending.size >= MOST_AT_A_TIME) return
      const acting = act(i++)
      pending.add(acting)
      acting.finally(() => pending.delete(acting))
    }, ms)
  }

  function quit () {
    end.abort()
    timers.forEach(clearInterval)
  }
}

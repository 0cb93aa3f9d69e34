import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { PASSWORD } from '../../helper.ts'
import { createClient, type Ask, type Question } from './client.ts'
import type { Test } from 'tap'

/** `status` is that of the answer, or the code of what came in its place. */
export type Sample = { what: string, sentAt: number, ms: number, status: number | string, isGood: boolean, connection: string | undefined }
export type Load = ReturnType<typeof startLoad>

const PAUSE_MS = 40
const ROUNDS = 3

/** Clients, each of which makes an account and lives with it: about 20 requests a second each, until they are stopped. */
export function startLoad (t: Test, origin: string, clients: number, ask: Ask = createClient(t)) {
  const samples: Sample[] = []
  const end = new AbortController()
  t.teardown(() => end.abort())
  const work = Array.from({ length: clients }, live)

  return {
    samples,

    /** Fulfilled when so many requests more have been answered, or have failed. */
    async flow (count: number) {
      const enough = samples.length + count
      await eventually(() => samples.length >= enough, 30_000)
    },

    /** Lets the clients end what they are at. */
    async stop () {
      end.abort()
      await Promise.all(work)
    }
  }

  async function live () {
    while (!end.signal.aborted) await life().catch(() => {})      // what failed is among the samples
  }

  async function life () {
    const credentials = { email: `load-${randomUUID()}@example.com`, password: PASSWORD }
    let { accessToken: token, refreshToken } = await expect(201, { method: 'POST', path: '/auth/register', body: credentials })
    for (let i = 0; i < ROUNDS && !end.signal.aborted; i++) {
      await expect(200, { path: '/me', token });
      ({ accessToken: token, refreshToken } = await expect(200, { method: 'POST', path: '/auth/refresh', body: { refreshToken } }))
      await expect(200, { path: '/me', token })
      const other = await expect(200, { method: 'POST', path: '/auth/login', body: credentials })
      await expect(200, { path: '/me', token: other.accessToken })
      await expect(204, { method: 'POST', path: '/auth/logout', token: other.accessToken })
    }
  }

  async function expect (status: number, question: Question) {
    const sample: Sample = { what: `${question.method ?? 'GET'} ${question.path}`, sentAt: performance.now(), ms: 0, status: '', isGood: false, connection: undefined }
    try {
      const answer = await ask(origin, question)
      Object.assign(sample, { status: answer.status, isGood: answer.status === status, connection: answer.connection })
      if (!sample.isGood) throw new Error(`${sample.what} answered ${answer.status}`)
      return answer.body
    } catch (error) {
      if (sample.status === '') sample.status = (error as NodeJS.ErrnoException).code ?? String(error)
      throw error
    } finally {
      sample.ms = performance.now() - sample.sentAt
      samples.push(sample)
      await delay(PAUSE_MS)
    }
  }
}

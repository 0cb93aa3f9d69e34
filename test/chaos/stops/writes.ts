import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { alive, born, generationOf, keep, learn, next, type Life, type Pair } from './accounts.ts'
import { createClient } from './client.ts'
import type { Test } from 'tap'

const PAUSE_MS = 5
// What a revocation has until it holds everywhere; who was told that it is done need not wait.
const UNTOLD_MS = 1000
const SLOWEST_MS = 30_000

/** Clients that write until something goes wrong, each with an account of its own. */
export function createWriters (t: Test, size: number, isOutage: (status: number) => boolean) {
  const ask = createClient(t)
  const lives = Array.from({ length: size }, born)
  const wrong: object[] = []
  const told = { acknowledged: 0 }

  return { lives, wrong, told, ask, write, acknowledged, verify }

  /** Fulfilled when each has met the end of its server, or has been answered as in an outage. */
  async function write (origin: string) {
    await Promise.all(lives.map((life) => live(origin, life)))
  }

  /** Fulfilled when so many more have been acknowledged: on a slow machine that takes longer, and proves as much. */
  async function acknowledged (more: number) {
    const due = told.acknowledged + more
    await eventually(() => told.acknowledged >= due, SLOWEST_MS)
  }

  async function live (origin: string, life: Life) {
    for (;;) {
      if (!life.account.isThere) Object.assign(life, life.account.sessions.size > 0 ? born() : {})
      const attempt = life.doubt = next(life)
      const answer = await ask(origin, attempt.question).catch(() => undefined)
      if (answer?.status !== attempt.done) {
        if (answer && !isOutage(answer.status)) wrong.push({ did: attempt.what, answer })
        return
      }
      learn(life, attempt, answer)
      life.doubt = undefined
      told.acknowledged++
      await delay(Math.random() * PAUSE_MS)
    }
  }

  /** The last tokens that were acknowledged work, those of sessions that have ended do not. */
  async function verify (origin: string) {
    let refreshed = 0
    await Promise.all(lives.map(async (life) => {
      for (const id of alive(life)) {
        const known = life.tokens.get(id)!
        const session = life.account.sessions.get(id)!
        const { status, body } = await ask(origin, { method: 'POST', path: '/auth/refresh', body: { refreshToken: known.refreshToken } })
        const due = Math.max(session.generation, generationOf(known.refreshToken) + 1)
        if (status === 200 && generationOf(body.refreshToken) === due) {
          keep(life, body)
          session.generation = due
          refreshed++
        } else wrong.push({ did: 'refresh after it', status, body, due })
        const answer = await ask(origin, { path: '/me', token: known.accessToken })
        if (answer.status !== 200) wrong.push({ did: '/me of a living session', id, answer })
      }
      const dead = [...life.tokens].filter(([id]) => !life.account.sessions.get(id)?.isAlive).at(-1)
      if (dead && !await isDead(dead, life.untold.has(dead[0]))) wrong.push({ did: '/me of a session that has ended', id: dead[0] })
    }))
    return refreshed

    async function isDead ([, { accessToken }]: [string, Pair], isUntold: boolean) {
      const isRefused = async () => (await ask(origin, { path: '/me', token: accessToken })).status === 401
      return isUntold ? eventually(isRefused, UNTOLD_MS).then(() => true, () => false) : isRefused()
    }
  }
}

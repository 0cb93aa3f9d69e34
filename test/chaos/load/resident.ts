import { setTimeout as delay } from 'node:timers/promises'
import { PASSWORD } from '../../helper.ts'
import type { Answer, Client } from '../client.ts'

/** What a client that lives with one session knows: what was acknowledged, and what may have been done. */
export type Resident = {
  email: string
  accessToken: string
  refreshToken: string
  name: string | null
  /** Asked for since, without an answer that says whether it was done. */
  perhaps: string[]
  /** Access tokens of the sessions whose end was acknowledged. */
  ended: string[]
}

const PAUSE_MS = 70

/** Does one thing after another with its session, and in each round signs out and in again. What fails is tried again, as a client would. It ends signed in, unless it despairs. */
export async function live (resident: Resident, ask: Client['ask'], end: AbortSignal, despair: AbortSignal) {
  const { look, renew, rename, signOut, signIn } = verbsOf(resident, ask)
  while (!end.aborted) {
    for (const act of [look, renew, rename, look, renew]) {
      if (end.aborted) return
      await act()
      await delay(PAUSE_MS)
    }
    await insist(signOut)
    await insist(signIn)
  }

  async function insist (act: () => Promise<Answer>) {
    let status: number
    do {
      status = (await act()).status
      await delay(PAUSE_MS)
    } while (status !== 200 && status !== 204 && !despair.aborted)
  }
}

export function verbsOf (resident: Resident, ask: Client['ask']) {
  return {
    look: () => ask('GET /me', resident),

    async renew () {
      const answer = await ask('POST /auth/refresh', { payload: { refreshToken: resident.refreshToken } })
      if (answer.status === 200) keep(answer)
      return answer
    },

    async rename () {
      const displayName = `at ${performance.now()}`
      resident.perhaps.push(displayName)
      const answer = await ask('PATCH /me', { accessToken: resident.accessToken, payload: { displayName } })
      if (answer.status === 200) Object.assign(resident, { name: displayName, perhaps: [] })
      return answer
    },

    async signOut () {
      const answer = await ask('POST /auth/logout', resident)
      if (answer.status === 204) resident.ended.push(resident.accessToken)
      return answer
    },

    async signIn () {
      const answer = await ask('POST /auth/login', { payload: { email: resident.email, password: PASSWORD } })
      if (answer.status === 200) keep(answer)
      return answer
    }
  }

  function keep ({ body: { accessToken, refreshToken } }: Answer) {
    Object.assign(resident, { accessToken, refreshToken })
  }
}

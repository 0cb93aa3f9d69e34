import { randomUUID } from 'node:crypto'
import { PASSWORD } from '../../../helper.ts'
import type { Answer, Client } from '../../client.ts'
import type { startService } from '../../world.ts'
import type { Test } from 'tap'

const LOOK_MS = 25

export async function register ({ ask }: Client) {
  const email = `${randomUUID()}@example.com`
  const { status, body } = await ask('POST /auth/register', { payload: { email, password: PASSWORD } })
  if (status !== 201) throw new Error(`register answered ${status}`)
  return { email, accessToken: body.accessToken as string }
}

/** What a user who is signed in gets to see. */
export function watchMe (t: Test, { ask }: Client, accessToken: string) {
  const answers: Answer[] = []
  const stop = repeat(t, async () => { answers.push(await ask('GET /me', { accessToken })) })
  return { answers, stop }
}

/** The most that was in memory, MB. */
export function watchMemory (t: Test, { memory }: Awaited<ReturnType<typeof startService>>) {
  let most = 0
  repeat(t, async () => { most = Math.max(most, await memory()) })
  return { most: () => most }
}

function repeat (t: Test, look: () => Promise<void>) {
  const timer = setInterval(look, LOOK_MS)
  const stop = () => clearInterval(timer)
  t.teardown(stop)
  return stop
}

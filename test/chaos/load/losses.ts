import { setTimeout as delay } from 'node:timers/promises'
import type { QueryResultRow } from 'pg'
import type { Client } from '../client.ts'
import type { Resident } from './resident.ts'

export type Query = <Row extends QueryResultRow>(text: string, values?: unknown[]) => Promise<Row[]>
type Stored = { id: string, generation: number, isLive: boolean }

const BOUND_MS = 1000      // of a revocation

/** What was acknowledged and is not so: in PostgreSQL first, before anything else is asked of the service, which could mend it. */
export async function findLosses (residents: Resident[], client: Client, query: Query) {
  const sessions = residents.flatMap(({ email, accessToken, refreshToken, ended }) => [
    { email, id: sessionOf(accessToken), generation: generationOf(refreshToken), isLive: true },
    ...ended.map((token) => ({ email, id: sessionOf(token), generation: 0, isLive: false }))
  ])
  const rows = await query<Stored>('select id, generation, revoked_at is null as "isLive" from sessions where id = any($1)', [sessions.map(({ id }) => id)])
  const stored = new Map(rows.map((row) => [row.id, row]))
  const lost: object[] = sessions
    .map((told) => ({ told, stored: stored.get(told.id) }))
    .filter(({ told, stored }) => !stored || stored.isLive !== told.isLive || stored.generation < told.generation)

  await delay(BOUND_MS)
  for (const { email, accessToken, refreshToken, name, perhaps, ended } of residents) {
    const me = await client.ask('GET /me', { accessToken })
    if (me.status !== 200) lost.push({ email, who: 'is signed in', answer: me })
    else if (![name, ...perhaps].includes(me.body.user.displayName)) lost.push({ email, name, perhaps, answer: me.body })
    const next = await client.ask('POST /auth/refresh', { payload: { refreshToken } })
    if (next.status !== 200) lost.push({ email, who: 'may refresh', answer: next })
    const last = ended.at(-1)
    const gone = last && await client.ask('GET /me', { accessToken: last })
    if (gone && gone.status !== 401) lost.push({ email, who: 'has signed out', answer: gone })
  }
  return lost
}

const sessionOf = (accessToken: string): string => JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString()).sid

/** It stands behind the 16 bytes of the session's id. */
const generationOf = (refreshToken: string) => Buffer.from(refreshToken.slice('rt1.'.length), 'base64url').readUInt32BE(16)

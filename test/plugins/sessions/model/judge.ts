import { isDeepStrictEqual } from 'node:util'
import * as model from '../model.ts'
import { short, type Life } from './actions.ts'
import { refreshTokenOf } from './tokens.ts'
import type { Service } from './replicas.ts'

const REPLICAS = 3
const NEW_SECRET = 1

/** Holds the service against the world. What ended on a replica is dead there at once, and elsewhere when they hear of it. */
export async function judge (service: Service, life: Life, replica?: number) {
  const ended = [...life.known.keys()].filter((id) => !life.dead.has(id) && !model.isLive(life.world, id))
  for (const id of ended) life.dead.add(id)
  if (ended.length > 0) {
    if (replica !== undefined) await judgeTokens(service, life, ended, () => replica)
    await service.hear(ended)
    await judgeTokens(service, life, ended)
  }
  await judgeLiving(service, life)
}

/** That of these sessions each access token is accepted if it should be, and no refresh token of those that are dead; the replicas take turns. */
export async function judgeTokens (service: Service, { world, known }: Life, ids: string[], replicaOf = (turn: number) => turn % REPLICAS) {
  let turn = world.clock
  await Promise.all(ids.flatMap((id) => {
    const { access, nonce, generation } = known.get(id)!
    const refreshToken = refreshTokenOf({ sessionId: id, generation, nonce }, NEW_SECRET)
    return [...access.map(accept), ...model.isLive(world, id) ? [] : [refuse()]]

    async function accept (token: typeof access[number], i: number) {
      const replica = replicaOf(turn++)
      const { status } = await service.get(replica, '/me', token.text)
      same(status, model.isAccepted(world, token) ? 200 : 401, `/me with access token ${i} of ${short(id)} on replica ${replica}`)
    }

    async function refuse () {
      const replica = replicaOf(turn++)
      const { status } = await service.post(replica, '/auth/refresh', { refreshToken })
      same(status, 401, `the refresh token of ${short(id)}, which is dead, on replica ${replica}`)
    }
  }))
}

/** That the latest access token of whoever has one is accepted by a replica, and that the live sessions are listed. */
async function judgeLiving (service: Service, { world, known }: Life) {
  const replica = world.clock % REPLICAS
  await Promise.all([...known].map(async ([id, { who, access }]) => {
    const token = access.at(-1)!
    if (!model.isAccepted(world, token)) return
    const alive = model.aliveOf(world, world.accounts[who]!)
    const isLatest = alive[0]?.id === id
    const { status, body } = await service.get(replica, isLatest ? '/me/sessions' : '/me', token.text)
    same(status, 200, `the latest access token of ${short(id)}`)
    if (!isLatest) return
    same(alive.length <= model.SESSION_LIMIT, true, 'the cap')
    const listed = JSON.parse(body).sessions.map(({ id, current }: { id: string, current: boolean }) => ({ id, current }))
    same(listed, alive.map((session) => ({ id: session.id, current: session === alive[0] })), `the sessions of ${who}`)
  }))
}

export function same (found: unknown, wanted: unknown, what: string) {
  if (!isDeepStrictEqual(found, wanted)) throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`)
}

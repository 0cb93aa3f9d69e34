import { isDeepStrictEqual } from 'node:util'
import { KEPT, type Answer, type Operation, type Session, type World } from '../model.ts'

/** What an operation came to, as its caller was told. */
export type Happened = { operation: Operation<any>, answer: Answer }
type Moment = { world: World, arrived: unknown[], done: boolean[] }

/**
 * The world after operations that were under way at once: one that some order of their moments leads to, with the answers that were
 * given and what is visible now. Undefined where no order does.
 */
export function explain (before: World, happened: Happened[], seen: Visible): World | undefined {
  const deadEnds = new Set<string>()
  return search({ world: before, arrived: happened.map(({ operation }) => operation.arrive ? WAITING : undefined), done: happened.map(() => false) })

  function search (moment: Moment): World | undefined {
    if (!moment.done.includes(false)) return isDeepStrictEqual(visible(moment.world), seen) ? moment.world : undefined
    const key = JSON.stringify(moment)
    if (deadEnds.has(key)) return undefined
    for (const i of happened.keys()) {
      const after = moment.done[i] ? undefined : next(moment, i)
      const found = after && search(after)
      if (found) return found
    }
    deadEnds.add(key)
    return undefined
  }

  function next ({ world, arrived, done }: Moment, i: number): Moment | undefined {
    const { operation, answer } = happened[i]!
    const after = copy(world)
    if (arrived[i] === WAITING) return { world: after, arrived: arrived.with(i, operation.arrive!(after)), done }
    if (!isDeepStrictEqual(operation.act(after, arrived[i]), answer)) return undefined
    return { world: after, arrived, done: done.with(i, true) }
  }
}

const WAITING = 'waiting'

export type Visible = ReturnType<typeof visible>

/** What the database shows of a world: the sessions that nobody ended, the one seen last first; times in ticks from now, rounded as those of the rows. */
export function visible (world: World) {
  return Object.fromEntries(Object.entries(world.accounts).map(([who, account]) => [who, {
    isDisabled: account.isDisabled,
    sessions: account.sessions.filter((session) => isKept(world, session)).sort((a, b) => b.seen - a.seen).map(({ id, generation, rotatedAt, idleUntil, until }) => ({
      id,
      generation,
      rotatedAgo: rotatedAt === null ? null : world.now - rotatedAt,
      idleLeft: whole(idleUntil - world.now),
      left: whole(until - world.now)
    }))
  }]))
}

const isKept = ({ now }: World, { isRevoked, idleUntil, until }: Session) => !isRevoked && now < Math.min(idleUntil, until) + KEPT

// Zero, where Math.ceil says -0.
const whole = (ticks: number) => Math.ceil(ticks) + 0

function copy ({ accounts, keys, ...times }: World): World {
  const copies = Object.entries(accounts).map(([who, account]) => [who, { ...account, sessions: account.sessions.map((session) => ({ ...session })) }])
  return { ...times, keys: [...keys], accounts: Object.fromEntries(copies) }
}

import { test } from 'tap'
import * as model from './model.ts'
import { explain, visible, type Happened } from './model/explain.ts'
import { holds } from './model/holds.ts'

const [SEED, RUNS, SECONDS] = [42, 80, 60]

test('whatever people do, one after another or at once, sessions are as the model says', (t) =>
  holds(t, { seed: SEED, runs: RUNS, seconds: SECONDS }))

const refresh = (generation: number, isGenuine = true) => model.refresh({ sessionId: 'a', generation, isGenuine })
const logIn = (id: string) => model.logIn('ada', 'old', id)
const told = (status: number, operation: model.Operation<any>): Happened => ({ operation, answer: { status } })
const refreshed = (generation: number, next: number): Happened => ({ operation: refresh(generation), answer: { status: 200, generation: next } })

const ada = after({ now: 0, clock: 0, keys: [0], accounts: {} }, model.register('ada', 'old', 'a'))
const two = after(ada, logIn('b'))
const full = after(two, logIn('c'))
const token = model.accessOf(ada, 'a')
const change = model.changePassword(token, 'old', 'new')

test('what happens at once is explained where some order leads there', async (t) => {
  const cases: [string, model.World, Happened[], model.World][] = [
    ['two refreshes of one token get the same successor', ada, [refreshed(0, 1), refreshed(0, 1)], after(ada, refresh(0))],
    ['a login that is in time is ended by the change of the password', two, [told(204, change), told(200, logIn('c'))], after(two, change)],
    ['a login that is late is refused', two, [told(204, change), told(401, logIn('c'))], after(two, change)],
    ['who was let in may go on, though the session ends meanwhile', two, [told(204, model.logOut(token)), told(204, model.endSessions(token, false))], after(two, model.endSessions(token, true))],
    ['a login ends the session that was seen least lately when it came, though that is refreshed meanwhile', full, [refreshed(0, 1), told(200, logIn('d'))], after(full, logIn('d'))]
  ]
  for (const [what, before, happened, now] of cases) t.same(visible(explain(before, happened, visible(now)) ?? before), visible(now), what)
})

test('and nowhere else', async (t) => {
  const cases: [string, model.World, Happened[], model.World][] = [
    ['two refreshes of one token get two successors', ada, [refreshed(0, 1), refreshed(0, 2)], after(ada, refresh(0), refresh(1))],
    ['a refreshed session outlives its end', ada, [refreshed(0, 1), told(204, model.logOut(token))], after(ada, refresh(0))],
    ['a login with the old password outlives the change', two, [told(200, logIn('c')), told(204, change)], after(two, change, model.logIn('ada', 'new', 'c'))],
    ['a forged token is taken', ada, [{ operation: refresh(0, false), answer: { status: 200, generation: 1 } }], after(ada, refresh(0))],
    ['a forged token ends a session', ada, [told(401, refresh(0, false))], after(ada, model.logOut(token))],
    ['another session ends than the one that was seen least lately', full, [told(200, logIn('d'))], after(full, refresh(0), logIn('d'))]
  ]
  for (const [what, before, happened, now] of cases) t.equal(explain(before, happened, visible(now)), undefined, what)
})

/** The world after these, one after another. */
function after (before: model.World, ...operations: model.Operation<any>[]) {
  const world = structuredClone(before)
  for (const { arrive, act } of operations) act(world, arrive?.(world))
  return world
}

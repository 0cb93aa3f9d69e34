import { randomUUID } from 'node:crypto'
import * as model from '../model.ts'
import { decodeJwt, kidOf } from '../../auth/forge.ts'
import { ACTIONS, type Command, type Draft, type Life } from './actions.ts'
import { TICK_SECONDS, type Held } from './database.ts'
import { explain, visible, type Happened } from './explain.ts'
import { judge, judgeTokens, same } from './judge.ts'
import { KNOWN_SECRETS, type Service } from './replicas.ts'
import { claimOf, older, refreshTokenOf, type Pair } from './tokens.ts'

/** What is done at once, maybe while rows are held; or what happens to all. */
export type Step = { drafts: Draft[], held?: Held } | { ticks: number } | { key: 'added' | 'replaced' }
type Outcome = Happened & { draft: Draft, replica?: number, told: string, at: number, pair?: Pair }

/** Lives through these steps, and throws as soon as anything is not as it should be. */
export async function live (service: Service, steps: Step[], trace: string[]) {
  const emails = { ada: `ada-${randomUUID()}@example.com`, bob: `bob-${randomUUID()}@example.com` }
  const life: Life = { world: { now: 0, clock: 0, keys: [0], accounts: {} }, known: new Map(), dead: new Set(), emails, trace }
  await service.setKeys(life.world.keys)
  for (const step of steps) {
    if ('ticks' in step) await pass(service, life, step.ticks)
    else if ('key' in step) await changeKeys(service, life, step.key)
    else await act(service, life, step.drafts, step.held)
  }
  await service.hear([...life.dead])
  await judgeTokens(service, life, [...life.known.keys()])
}

async function act (service: Service, life: Life, drafts: Draft[], held?: Held) {
  const works = drafts.flatMap((draft) => {
    const command = ACTIONS[draft.name](life, draft)
    return command ? () => carryOut(service, command, draft) : []
  })
  const outcomes = (await service.atOnce(works, held, Object.values(life.emails))).sort((a, b) => a.at - b.at)
  life.trace.push(`${outcomes.length} at once${held ? `, ${held} held` : ''}:`)
  life.trace.push(...outcomes.map(({ replica = 'none', told, answer }) => `  replica ${replica}: ${told}: ${Object.values(answer).join(', now ')}`))
  await settle(service, life, outcomes)
  for (const outcome of outcomes) if (outcome.pair) learn(service, life, outcome, outcome.pair)
  const [first, ...others] = outcomes
  await judge(service, life, others.length === 0 ? first?.replica : undefined)
}

async function carryOut (service: Service, command: Command, draft: Draft): Promise<Outcome> {
  const replica = 'request' in command ? draft.replica : undefined
  const { status, body } = 'request' in command ? await service.ask(draft.replica, command.request) : await command.change(service)
  const at = performance.now()
  const pair: Pair | undefined = status < 300 && body ? JSON.parse(body) : undefined
  const claim = pair && claimOf(pair)
  const answer = claim && draft.name === 'refresh' ? { status, generation: claim.generation } : { status }
  return { draft, replica, told: command.told, at, pair, answer, operation: command.operation(claim?.sessionId ?? '') }
}

/** Finds a world that what happened leads to, and that is as the rows are. */
async function settle (service: Service, life: Life, happened: Happened[]) {
  const rows = await service.rows(Object.values(life.emails))
  const seen = Object.fromEntries(rows.map(({ email, ...account }) => [email.slice(0, 3), account]))
  const after = explain(life.world, happened, seen)
  if (!after) throw new Error(`no order leads from ${JSON.stringify(visible(life.world))} to ${JSON.stringify(seen)}`)
  life.world = after
}

/** Notes what a client was given, which has to be what the model would have given. */
function learn (service: Service, { world, known }: Life, { draft }: Outcome, pair: Pair) {
  const { sessionId, generation, nonce } = claimOf(pair)
  const before = known.get(sessionId) ?? { who: draft.who, nonce, generation: 0, until: world.now + model.ABSOLUTE, access: [] }
  same(pair.refreshToken, refreshTokenOf({ sessionId, generation, nonce: before.nonce }, KNOWN_SECRETS[draft.replica]![0]!), 'the refresh token')
  const token = model.accessOf(world, sessionId, before.until)
  same(decodeJwt(pair.accessToken, 0).kid, kidOf(service.keyOf(token.key)), 'the key of the access token')
  known.set(sessionId, { ...before, generation: Math.max(before.generation, generation), access: [...before.access, { ...token, text: pair.accessToken }] })
}

async function pass (service: Service, life: Life, ticks: number) {
  life.trace.push(`${ticks} ticks pass`)
  const seconds = ticks * TICK_SECONDS
  await service.age(Object.values(life.emails), seconds)
  for (const token of [...life.known.values()].flatMap(({ access }) => access)) token.text = older(token.text, seconds, service.keyOf(token.key))
  await settle(service, life, [{ operation: model.pass(ticks), answer: { status: 204 } }])
  await judge(service, life)
}

async function changeKeys (service: Service, life: Life, how: 'added' | 'replaced') {
  const operation = how === 'added' ? model.addKey : model.replaceKey
  await settle(service, life, [{ operation, answer: { status: 204 } }])
  life.trace.push(`a key is ${how}, now ${life.world.keys}`)
  await service.setKeys(life.world.keys)
  await judgeTokens(service, life, [...life.known.keys()])
}

import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:http'
import { test, type Test } from 'tap'
import { PASSWORD, settings, sql } from '../helper.ts'
import { ready, start } from '../processes.ts'
import { areaUnderCurve, median } from './statistics.ts'

const SAMPLES = 1000
const WARM_UP = 100
const MOST_GAP = 0.05
const MOST_GAP_MS = 5
const MOST_AUC = 0.55

type Ask = (path: string, body: object) => Promise<{ status: number, milliseconds: number }>
type Case = { name: string, status: number, ask: () => ReturnType<Ask> }
type Measured = { name: string, times: number[], median: number }

/** The service as an operator runs it, with hashes that cost what they cost, and a client with one connection. */
async function serve (t: Test): Promise<Ask> {
  const address = await ready(start(t, 'server.ts', [], { ...settings, ARGON2_MEMORY: undefined, ARGON2_TIME: undefined, PORT: '0', LOG_LEVEL: 'info' }))
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())

  return (path, body) => new Promise((resolve, reject) => {
    const text = JSON.stringify(body)
    const startedAt = performance.now()
    const outgoing = request(`${address}${path}`, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) } }, (incoming) => {
      incoming.resume().once('end', () => resolve({ status: incoming.statusCode ?? 0, milliseconds: performance.now() - startedAt }))
    })
    outgoing.once('error', reject).end(text)
  })
}

/** Asks in rounds, in an order that chance decides, so that what slows the machine down slows all. */
async function measure (t: Test, cases: Case[]) {
  const times = cases.map((): number[] => [])
  for (let round = 0; round < WARM_UP + SAMPLES; round++) {
    for (const i of shuffled(cases.keys())) {
      const { status, milliseconds } = await cases[i]!.ask()
      if (status !== cases[i]!.status) t.equal(status, cases[i]!.status, cases[i]!.name)
      if (round >= WARM_UP) times[i]!.push(milliseconds)
    }
  }
  return cases.map(({ name }, i) => ({ name, times: times[i]!, median: median(times[i]!) }))
}

function shuffled (indices: Iterable<number>) {
  return [...indices].map((index) => ({ index, rank: Math.random() })).sort((a, b) => a.rank - b.rank).map(({ index }) => index)
}

/** That the medians are as near as the requirement wants them; answers how often the best guess by time would be right. */
function compare (t: Test, one: Measured, other: Measured) {
  const gap = Math.abs(one.median - other.median)
  const auc = areaUnderCurve(one.times, other.times)
  t.comment(`${one.name} ${one.median.toFixed(2)} ms, ${other.name} ${other.median.toFixed(2)} ms (medians of ${SAMPLES}), AUC ${auc.toFixed(3)}`)
  t.ok(gap <= Math.max(MOST_GAP * other.median, MOST_GAP_MS), `${one.name} and ${other.name} are ${gap.toFixed(2)} ms apart`)
  return Math.max(auc, 1 - auc)
}

test('how long a login takes does not tell who has an account', async (t) => {
  const ask = await serve(t)
  const [known, disabled] = ['known@example.com', 'disabled@example.com']
  for (const email of [known, disabled]) t.equal((await ask('/auth/register', { email, password: PASSWORD })).status, 201)
  await sql('update users set disabled_at = now() where email = $1', [disabled])

  const logIn = (email: string, password: string) => ask('/auth/login', { email, password })
  const [unknown, ...others] = await measure(t, [
    { name: 'an unknown address', status: 401, ask: () => logIn(`${randomUUID().slice(0, 5)}@example.com`, 'a wrong password') },
    { name: 'a known one', status: 401, ask: () => logIn(known, 'a wrong password') },
    { name: 'a disabled one', status: 401, ask: () => logIn(disabled, PASSWORD) }
  ])
  for (const other of others) t.ok(compare(t, other, unknown!) <= MOST_AUC, `${other.name} is told from ${unknown!.name} by chance alone`)
})

// The answer itself says that an address is taken (REQUIREMENTS 15), so that there is nothing to guess.
test('to register an address that is taken takes as long as to register a new one', async (t) => {
  const ask = await serve(t)
  const register = (email: string) => ask('/auth/register', { email, password: PASSWORD })
  t.equal((await register('taken@example.com')).status, 201)
  const [fresh, taken] = await measure(t, [
    { name: 'a new address', status: 201, ask: () => register(`${randomUUID()}@example.com`) },
    { name: 'one that is taken', status: 409, ask: () => register('taken@example.com') }
  ])
  compare(t, taken!, fresh!)
})

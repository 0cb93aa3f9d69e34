import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { t as file, type Test } from 'tap'
import { eventually } from '../../../eventually.ts'
import { post } from '../../../helper.ts'
import { startCluster, startRedis } from '../../../redis.ts'
import { withCluster, withoutRedis, withRedis, type Fault } from './faults.ts'
import { startFleet, type Fleet, type Replica } from './fleet.ts'
import { createLedger, isWrong, latestLetIn, type Ledger, type Session } from './ledger.ts'
import { startLoad } from './load.ts'
import { halves, resolve } from './truth.ts'
import { prepare, type Attempt } from './verbs.ts'

// Less than a refresh may take, and long enough for a machine that is busy with the rest of the suite; the fleet that keeps the default shows that nothing hangs on it.
const PATIENT = { REDIS_COMMAND_TIMEOUT: '3000' }
const BOUND_MS = 1000
const RECOVERY_MS = 5000
const FAILOVER_MS = 30_000

file.jobs = 3

file.test('without Redis', { buffered: true }, async (t) => {
  await enduring(t, 2, {}, withoutRedis[2])
  await enduring(t, 3, {}, withoutRedis[3])
})

file.test('with one Redis', { buffered: true }, async (t) => {
  const redis = await startRedis(t)
  await enduring(t, 2, { REDIS_URL: redis.url }, withRedis(redis)[2])
  await enduring(t, 3, { REDIS_URL: redis.url, ...PATIENT }, withRedis(redis)[3])
})

file.test('with a cluster', { buffered: true }, async (t) => {
  const cluster = await startCluster(t)
  const env = { REDIS_CLUSTER_NODES: cluster.urls.join(), ...PATIENT }
  await enduring(t, 2, env, withCluster(cluster)[2])
  await enduring(t, 3, env, withCluster(cluster)[3])
})

/** The same processes go through all of it, one after another, under load. */
async function enduring (t: Test, size: number, env: Record<string, string>, faults: Fault[]) {
  await t.test(`${size} replicas`, async (t) => {
    const [fleet, ledger] = [await startFleet(t, size, env), createLedger()]
    const load = await startLoad(fleet, ledger)
    for (const fault of faults) {
      await t.test(fault.what, (t) => endure(t, fleet, ledger, fault))
      await eventually(() => fleet.replicas.every(({ app }) => app.breakers.stateOf('database') === 'closed'), RECOVERY_MS)
    }
    await load.stop()
    t.same(ledger.settle().filter(isWrong), [])
    for (const { refreshToken } of ledger.in('alive')) t.equal((await post(fleet.b.app, '/auth/refresh', { refreshToken })).statusCode, 200, 'the last token that was acknowledged')
  })
}

async function endure (t: Test, fleet: Fleet, ledger: Ledger, { begin, strike, heal, endings = 'surely', isByHand = false, isUntold = false, b }: Fault) {
  const longEnded = ledger.in('ended').filter(({ endedAt }) => performance.now() - endedAt > BOUND_MS)
  const attempts = await prepare(fleet, ledger, isByHand)
  await begin?.(fleet)
  const answers = await Promise.all(attempts.map((attempt) => end(ledger, attempt, isUntold)))
  t.same(answers.filter(({ status, done }) => !allowed[endings](done).includes(status)), [])
  await strike?.(fleet)
  await delay(BOUND_MS)
  t.comment(`B ${b} after ${await eventually(() => isAs[b](fleet.b, attempts, longEnded), FAILOVER_MS)} ms more`)

  const startedAt = performance.now()
  await heal?.(fleet)
  await resolve(ledger, attempts)
  await eventually(() => isRight(fleet, attempts), RECOVERY_MS)
  t.comment(`good again after ${Math.round(performance.now() - startedAt)} ms`)
  t.same(await halves(ledger, attempts), [])
  const samples = ledger.settle()
  t.same(samples.filter(isWrong), [])
  t.comment(`${samples.length} answers, the last that let an ended session in was asked for ${latestLetIn(samples)} ms after its end`)
}

async function end (ledger: Ledger, { what, ending, done, isTold, act }: Attempt, isUntold: boolean) {
  for (const session of ending) session.state = 'in doubt'
  const status = await act()
  if (status === done) for (const session of ending) ledger.end(session, isTold ?? !isUntold)
  return { what, status, done }
}

const allowed = {
  surely: (done: number) => [done],
  perhaps: (done: number) => [done, 503],
  'in vain': () => [503]
}

const isAs = {
  async decides (b: Replica, attempts: Attempt[], longEnded: Session[]) {
    const { alive, ended } = statesOf(attempts)
    return await verdicts(b, alive) === '200' && ['401', ''].includes(await verdicts(b, [...ended, ...longEnded]))
  },

  async 'is closed' (b: Replica, attempts: Attempt[], longEnded: Session[]) {
    return await verdicts(b, statesOf(attempts).alive) === '503' && ['401', ''].includes(await verdicts(b, longEnded))
  }
}

function statesOf (attempts: Attempt[]) {
  const sessions = attempts.flatMap(({ ending, staying }) => [...ending, ...staying])
  return { alive: sessions.filter(({ state }) => state === 'alive'), ended: sessions.filter(({ state }) => state === 'ended') }
}

/** All that is said, once. */
async function verdicts (replica: Replica, sessions: Session[]) {
  return [...new Set(await Promise.all(sessions.map(({ id }) => replica.verdict(id))))].join()
}

/** Those who are alive are let in everywhere, those who are not nowhere. */
async function isRight ({ replicas }: Fleet, attempts: Attempt[]) {
  const { alive, ended } = statesOf(attempts)
  const said = await Promise.all(replicas.map(async (replica) => [await statuses(replica, alive), await statuses(replica, ended)].join(' ')))
  return said.every((said) => /^200 (401)?$/.test(said))
}

async function statuses ({ app }: Replica, sessions: Session[]) {
  const answers = await Promise.all(sessions.map(({ headers }) => app.inject({ url: '/me', headers })))
  return [...new Set(answers.map(({ statusCode }) => statusCode))].join()
}

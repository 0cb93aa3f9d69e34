// k6 run -e PROFILE=spike -e BASE_URL=http://127.0.0.1:3000 deploy/load/k6.ts       (also -e SECONDS=20, -e YES=1)
// It needs k6 0.57 or newer, which runs TypeScript. What it sends and asks for is in mix.ts and plan.ts; npm run load does the same without k6.
import { sleep } from 'k6'
import { randomBytes } from 'k6/crypto'
import { b64encode } from 'k6/encoding'
import exec from 'k6/execution'
import http, { type RefinedResponse } from 'k6/http'
import { Counter, Rate } from 'k6/metrics'
import { ACTIONS, ANSWER_SECONDS, OBJECTIVES, objectiveNames, type Action, type Stage } from './mix.ts'
import { actionAt, judge, limitedBy, planOf } from './plan.ts'
import { accountFrom, createVirtualUser, leave, logIn, register, tokensFrom, type Account, type Request, type Tokens, type VirtualUser } from './virtual-user.ts'
import type { Options, RampingArrivalRateScenario } from 'k6/options'

type Member = { account: Account, tokens: Tokens }
type Data = { members: Member[] }

const RANDOM_BYTES = 30
const MOST_TRIES = 10
const MOST_WAIT_SECONDS = 60
const { PROFILE, BASE_URL, SECONDS, YES } = __ENV
const plan = planOf({ profile: PROFILE, url: BASE_URL, seconds: SECONDS, isSure: YES === '1' })

/** Of what each objective judges, the part that misses it. */
const missed = new Rate('missed')
const refused = new Counter('refused')
// What is judged by a schedule, k6 counts by itself: it drops iterations for which it has no user left.
const judged = objectiveNames.filter((name) => name !== 'schedule')

export const options: Options = {
  scenarios: {
    mix: { ...scenarioOf('users'), exec: 'mix' },
    ...(plan.hasFlood && { flood: { ...scenarioOf('logins'), exec: 'flood' } })
  },
  thresholds: {
    ...Object.fromEntries(judged.map((objective) => [`missed{objective:${objective}}`, [`rate<=${OBJECTIVES[objective].budget}`]])),
    dropped_iterations: [`count<=${plan.requests * OBJECTIVES.schedule.budget}`]
  },
  summaryTrendStats: ['med', 'p(99)', 'max'],
  setupTimeout: '10m',
  teardownTimeout: '20m'
}

/** Registers the users. Where it cannot, k6 calls no teardown, so that it deletes by itself what it has made. */
export function setup (): Data {
  const ready = http.get(`${plan.origin}/ready`)
  if (ready.status !== 200) throw new Error(`${plan.origin} is not ready: ${ready.error || ready.body}`)
  const status = http.get(`${plan.origin}/status`, { headers: { accept: 'application/json' } })
  console.log(`${plan.profile}: ${plan.users} users are made at ${plan.origin} (argon2: ${status.json('hashing.build')}), and send ${plan.requests} requests in ${plan.seconds} s`)
  // A threshold on what had nothing to judge would be missed.
  for (const objective of judged) missed.add(false, { objective })

  const accounts = Array.from({ length: plan.users }, newAccount)
  const members = accounts.map((account, at) => {
    const answer = patiently(register(account))
    if (answer.status === ACTIONS.register.success) return { account, tokens: tokensFrom(textOf(answer)) }
    accounts.slice(0, at + 1).forEach(remove)
    throw new Error(refusalOf(answer))
  })
  return { members }
}

export function mix (data: Data) {
  play(data, actionAt(Math.random()))
}

export function flood (data: Data) {
  play(data, 'login')
}

export function teardown ({ members }: Data) {
  const left = members.filter(({ account }) => !remove(account))
  if (left.length > 0) throw new Error(`Accounts are left: ${left.map(({ account }) => account.email).join(' ')}`)
}

// Each virtual user has a module of its own.
let user: VirtualUser | undefined

function play ({ members }: Data, wanted: Action) {
  if (!user) user = join(members[(exec.vu.idInTest - 1) % members.length]!)
  ask(user, wanted)
  // What it has registered has to go now: nobody knows whether this virtual user is wanted again, and the teardown does not know of it.
  for (let tries = 1; user.accounts.length > 1 && tries < MOST_TRIES; tries++) {
    if (tries > 1) sleep(1)
    ask(user, wanted)
  }
}

function join ({ account, tokens }: Member) {
  const joined = createVirtualUser(account, newAccount)
  joined.adopt(tokens)
  return joined
}

function ask (asking: VirtualUser, wanted: Action) {
  const request = asking.next(wanted)
  const answer = send(request)
  if (answer.status !== 0) asking.take(answer.status, textOf(answer))
  const { kind, missed: of } = judge(request.action, { status: answer.status, ms: answer.timings.duration, retryAfter: answer.headers['Retry-After'] }, plan)
  if (kind === 'limited') exec.test.abort(refusalOf(answer))
  if (kind === 'refused') refused.add(1)
  for (const [objective, isMissed] of Object.entries(of)) missed.add(isMissed, { objective })
}

/** Deletes an account, and says whether it is gone. */
function remove (account: Account) {
  const answer = patiently(logIn(account))
  if (answer.status !== ACTIONS.login.success) return answer.status === 401
  return patiently(leave(account, tokensFrom(textOf(answer)).accessToken)).status === ACTIONS.leave.success
}

/** Comes again when the service says so. */
function patiently (request: Request) {
  for (let tries = 1; ; tries++) {
    const answer = send(request)
    const isAskedTo = answer.status === 503 || (answer.status === 429 && request.action !== 'register')
    const waitSeconds = Number(answer.headers['Retry-After'])
    if (!isAskedTo || tries === MOST_TRIES || !(waitSeconds <= MOST_WAIT_SECONDS)) return answer
    sleep(waitSeconds)
  }
}

function send ({ action, method, path, headers, body }: Request) {
  const { success } = ACTIONS[action]
  return http.request(method, `${plan.origin}${path}`, body, {
    headers,
    timeout: `${ANSWER_SECONDS}s`,
    tags: { name: `${method} ${path}` },
    responseCallback: http.expectedStatuses(success, ...(plan.hasFlood ? [503] : []))
  })
}

function refusalOf ({ status, error, headers }: RefinedResponse<undefined>) {
  return status === 429 ? limitedBy(headers['Ratelimit-Policy']) : `The service answers ${status || error}`
}

function textOf ({ body }: RefinedResponse<undefined>) {
  return String(body ?? '')
}

function newAccount () {
  return accountFrom(b64encode(randomBytes(RANDOM_BYTES), 'rawurl'))
}

/** As many a second as there are users; a stage of no time is a step. */
function scenarioOf (who: keyof Pick<Stage, 'users' | 'logins'>): RampingArrivalRateScenario {
  return {
    executor: 'ramping-arrival-rate',
    startRate: plan.stages[0]![who],
    timeUnit: '1s',
    preAllocatedVUs: Math.max(...plan.stages.map((stage) => stage[who])),
    stages: plan.stages.flatMap((stage) => [{ duration: '0s', target: stage[who] }, { duration: `${stage.seconds}s`, target: stage[who] }]),
    gracefulStop: `${ANSWER_SECONDS}s`
  }
}

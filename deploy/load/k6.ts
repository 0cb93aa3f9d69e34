// k6 run -e PROFILE=spike -e BASE_URL=http://127.0.0.1:3000 deploy/load/k6.ts       (also -e SECONDS=20, -e YES=1)
// It needs k6 0.57 or newer, which runs TypeScript. What it sends and asks for is in mix.ts and plan.ts; npm run load does the same without k6.
import { sleep } from 'k6'
import { randomBytes } from 'k6/crypto'
import { b64encode } from 'k6/encoding'
import exec from 'k6/execution'
import http, { type RefinedResponse } from 'k6/http'
import { Counter, Rate } from 'k6/metrics'
import { buildOf, MOST_TRIES, refusalOf, secondsToWait, sentenceOfLeft, type Answer } from './answers.ts'
import { ACTIONS, ANSWER_SECONDS, OBJECTIVES, objectiveNames, type Action, type Stage } from './mix.ts'
import { actionAt, judge, planOf, sentenceOf } from './plan.ts'
import { accountFrom, createVirtualUser, leave, logIn, RANDOM_BYTES, register, tokensFrom, type Account, type Request, type Tokens, type VirtualUser } from './virtual-user.ts'
import type { Options, RampingArrivalRateScenario, RampingVUsScenario } from 'k6/options'

type Member = { account: Account, tokens: Tokens }
type Data = { members: Member[] }

// A virtual user that deletes what it has registered, while logins are refused, comes again until it may.
const GUEST_SECONDS = 60
const { PROFILE, BASE_URL, SECONDS, YES } = __ENV
const plan = planOf({ profile: PROFILE, url: BASE_URL, seconds: SECONDS, isSure: YES === '1' })

/** Of what each objective judges, the part that misses it. */
const missed = new Rate('missed')
const refused = new Counter('refused')
// What is judged by a schedule, k6 counts by itself: it drops iterations for which it has no user left.
const judged = objectiveNames.filter((name) => name !== 'schedule')

export const options: Options = {
  scenarios: {
    mix: mixScenario(),
    ...(plan.hasFlood && { flood: floodScenario() })
  },
  thresholds: {
    ...Object.fromEntries(judged.map((objective) => [`missed{objective:${objective}}`, [`rate<=${OBJECTIVES[objective].budget}`]])),
    'dropped_iterations{scenario:mix}': [`count<=${plan.requests * OBJECTIVES.schedule.budget}`]
  },
  summaryTrendStats: ['med', 'p(99)', 'max'],
  setupTimeout: '10m',
  teardownTimeout: '20m'
}

/** Registers the users. Where it cannot, k6 calls no teardown, so that it deletes by itself what it has made. */
export function setup (): Data {
  console.log(sentenceOf(plan, buildOf(plan.origin, get('/ready'), get('/status'))))
  // A threshold on what had nothing to judge would be missed.
  for (const objective of judged) missed.add(false, { objective })

  const accounts = Array.from({ length: plan.users }, newAccount)
  const members = accounts.map((account, at) => {
    const answer = patiently(register(account))
    if (answer.status === ACTIONS.register.success) return { account, tokens: tokensFrom(answer.body) }
    accounts.slice(0, at + 1).forEach(remove)
    throw new Error(refusalOf('POST /auth/register', answer))
  })
  return { members }
}

export function mix (data: Data) {
  play(data, actionAt(Math.random()))
}

/** Once a second at most, and not all at the beginning of one. */
export function flood (data: Data) {
  if (exec.vu.iterationInScenario === 0) sleep(Math.random())
  const begunAt = Date.now()
  play(data, 'login')
  sleep(Math.max(0, 1 - (Date.now() - begunAt) / 1000))
}

export function teardown ({ members }: Data) {
  const left = members.map(({ account }) => account).filter((account) => !remove(account))
  if (left.length > 0) throw new Error(sentenceOfLeft(left))
}

// Each virtual user has a module of its own.
let user: VirtualUser | undefined

function play ({ members }: Data, wanted: Action) {
  if (!user) user = join(members[(exec.vu.idInTest - 1) % members.length]!)
  ask(user, wanted)
  // What it has registered has to go now: nobody knows whether this virtual user is wanted again, and the teardown does not know of it.
  if (user.hasGuest) ask(user, wanted)
  const left = user.forgetGuests().filter((guest) => !remove(guest))
  if (left.length > 0) console.error(sentenceOfLeft(left))
}

function join ({ account, tokens }: Member) {
  const joined = createVirtualUser(account, newAccount)
  joined.adopt(tokens)
  return joined
}

function ask (asking: VirtualUser, wanted: Action) {
  const request = asking.next(wanted)
  const answer = send(request)
  if (answer.status !== 0) asking.take(answer.status, answer.body)
  const { kind, missed: of } = judge(request.action, answer, plan)
  if (kind === 'limited') exec.test.abort(refusalOf(request.path, answer))
  if (kind === 'refused') refused.add(1)
  for (const [objective, isMissed] of Object.entries(of)) missed.add(isMissed, { objective })
}

/** Deletes an account, and says whether it is gone: one that was never made, or was deleted already, cannot log in. */
function remove (account: Account) {
  const answer = patiently(logIn(account))
  if (answer.status !== ACTIONS.login.success) return answer.status === 401
  return patiently(leave(account, tokensFrom(answer.body).accessToken)).status === ACTIONS.leave.success
}

/** Comes again when the service says so. */
function patiently (request: Request) {
  for (let tries = 1; ; tries++) {
    const answer = send(request)
    const seconds = secondsToWait(request.action, answer)
    if (seconds === undefined || tries === MOST_TRIES) return answer
    sleep(seconds)
  }
}

function get (path: string) {
  return answerOf(http.get(`${plan.origin}${path}`, { headers: { accept: 'application/json' }, redirects: 0 }))
}

function send ({ action, method, path, headers, body }: Request) {
  const { success } = ACTIONS[action]
  return answerOf(http.request(method, `${plan.origin}${path}`, body, {
    headers,
    timeout: `${ANSWER_SECONDS}s`,
    redirects: 0,
    tags: { name: `${method} ${path}` },
    responseCallback: http.expectedStatuses(success, ...(plan.hasFlood ? [503] : []))
  }))
}

function answerOf ({ status, timings, body, error, headers }: RefinedResponse<undefined>): Answer & { ms: number } {
  return { status, ms: timings.duration, body: String(body || error), retryAfter: headers['Retry-After'], policy: headers['Ratelimit-Policy'] }
}

function newAccount () {
  return accountFrom(b64encode(randomBytes(RANDOM_BYTES), 'rawurl'))
}

/** As many requests a second as there are users; a stage of no time is a step. */
function mixScenario (): RampingArrivalRateScenario {
  return {
    executor: 'ramping-arrival-rate',
    exec: 'mix',
    startRate: plan.stages[0]!.users,
    timeUnit: '1s',
    preAllocatedVUs: Math.max(...plan.stages.map(({ users }) => users)),
    stages: stepsOf('users'),
    gracefulStop: `${GUEST_SECONDS}s`
  }
}

/** As many users as there are; who waits when the stage is over gets the answer. */
function floodScenario (): RampingVUsScenario {
  return {
    executor: 'ramping-vus',
    exec: 'flood',
    startVUs: plan.stages[0]!.flood,
    stages: stepsOf('flood'),
    gracefulRampDown: `${ANSWER_SECONDS}s`,
    gracefulStop: `${ANSWER_SECONDS}s`
  }
}

function stepsOf (who: keyof Pick<Stage, 'users' | 'flood'>) {
  return plan.stages.flatMap((stage) => [{ duration: '0s', target: stage[who] }, { duration: `${stage.seconds}s`, target: stage[who] }])
}

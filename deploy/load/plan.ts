import { ACTIONS, actionNames, MOST_SECONDS, OBJECTIVES, PROFILES, profileNames, type Action, type Objective, type Profile, type Stage } from './mix.ts'

/** `users` are all that are made; `requests` are those that they send but for a flood. */
export type Plan = { origin: string, profile: Profile, stages: Stage[], hasFlood: boolean, users: number, seconds: number, requests: number }
type Asked = { url?: string | undefined, profile?: string | undefined, seconds?: string | undefined, isSure: boolean }
type Answer = { status: number, ms: number, retryAfter?: string | undefined }
type Verdict = { kind: 'good' | 'refused' | 'limited' | 'failed', missed: Partial<Record<Objective, boolean>> }

const ORIGIN = /^https?:\/\/[^/?#@\s]+\/?$/i
const LOOPBACK = /^https?:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i

/** What is asked for, with its bounds; an error is a sentence for the operator. */
export function planOf ({ url = 'http://127.0.0.1:3000', profile = 'smoke', seconds, isSure }: Asked): Plan {
  if (!ORIGIN.test(url)) throw new Error(`${url} is no address of a service: http://127.0.0.1:3000`)
  const origin = url.replace(/\/$/, '')
  if (!LOOPBACK.test(origin) && !isSure) {
    throw new Error(`${origin} is not on this machine. The load makes accounts, takes all that is left of the service, and lets nobody else log in: never do that to production. For an instance that is there for it, say yes`)
  }
  if (!isProfile(profile)) throw new Error(`${profile} is no profile: ${profileNames.join(', ')}`)
  const stages = seconds === undefined ? PROFILES[profile] : shortened(PROFILES[profile], Number(seconds))
  return {
    origin,
    profile,
    stages,
    hasFlood: stages.some(({ flood }) => flood > 0),
    users: most(stages, 'users') + most(stages, 'flood'),
    seconds: sum(stages, ({ seconds }) => seconds),
    requests: sum(stages, ({ seconds, users }) => seconds * users)
  }
}

/** What is about to be done. */
export const sentenceOf = ({ profile, users, origin, requests, hasFlood, seconds }: Plan, build: string) =>
  `${profile}: ${users} users are made at ${origin} (argon2: ${build}), and send ${requests} requests${hasFlood ? ' and a flood of logins' : ''} in ${seconds} s`

/** One of a hundred by its share; `random` is at least 0 and less than 1. */
export function actionAt (random: number): Action {
  let rest = random * 100
  return actionNames.find((name) => (rest -= ACTIONS[name].share) < 0)!
}

/** What an answer, or none (status 0), means for each objective that has a say in it. */
export function judge (action: Action, { status, ms, retryAfter }: Answer, { hasFlood }: Pick<Plan, 'hasFlood'>): Verdict {
  const { success, objective } = ACTIONS[action]
  const isSlow = (name: 'latency' | 'hashing-latency' | 'refusals') => ms > OBJECTIVES[name].withinMs
  if (status === 429) return { kind: 'limited', missed: {} }
  if (!objective) return { kind: status === success ? 'good' : 'failed', missed: {} }
  if (status === 503 && hasFlood && objective === 'hashing-latency' && retryAfter) return { kind: 'refused', missed: { refusals: isSlow('refusals') } }
  if (status !== success) return { kind: 'failed', missed: { availability: true } }
  return { kind: 'good', missed: { availability: false, [objective]: isSlow(objective) } }
}

/** `99.9 % are answered, and as they should be`. */
export const promiseOf = (objective: Objective) => `${percent(1 - OBJECTIVES[objective].budget)} ${OBJECTIVES[objective].promise}`

export const percent = (part: number) => `${Number((part * 100).toFixed(2))} %`

function shortened (stages: Stage[], seconds: number) {
  if (!Number.isInteger(seconds) || seconds < stages.length || seconds > MOST_SECONDS) throw new Error(`This profile takes ${stages.length} to ${MOST_SECONDS} whole seconds`)
  const total = sum(stages, (stage) => stage.seconds)
  return stages.map((stage) => ({ ...stage, seconds: Math.max(1, Math.floor(stage.seconds * seconds / total)) }))
}

function isProfile (name: string): name is Profile {
  return (profileNames as string[]).includes(name)
}

const most = (stages: Stage[], what: 'users' | 'flood') => Math.max(...stages.map((stage) => stage[what]))
const sum = (stages: Stage[], figure: (stage: Stage) => number) => stages.reduce((total, stage) => total + figure(stage), 0)

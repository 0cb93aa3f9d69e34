// What both runners send, how much of it, and what is asked of the answers. k6 reads this file too: it imports nothing, and calls nothing that Node.js alone has.

type ActionData = {
  method: 'GET' | 'POST' | 'DELETE'
  path: string
  /** Requests of a hundred. */
  share: number
  success: number
  /** None for a probe, which the alerts do not judge either: it is never slow, and would flatter. */
  objective: 'latency' | 'hashing-latency' | undefined
}

/** What the clients of an identity service do. Who has registered deletes the account with the next request, which hashes a password too. */
export const ACTIONS = {
  me: { method: 'GET', path: '/me', share: 84, success: 200, objective: 'latency' },
  refresh: { method: 'POST', path: '/auth/refresh', share: 8, success: 200, objective: 'latency' },
  health: { method: 'GET', path: '/health', share: 4, success: 200, objective: undefined },
  login: { method: 'POST', path: '/auth/login', share: 3, success: 200, objective: 'hashing-latency' },
  register: { method: 'POST', path: '/auth/register', share: 1, success: 201, objective: 'hashing-latency' },
  leave: { method: 'DELETE', path: '/me', share: 0, success: 204, objective: 'hashing-latency' }
} as const satisfies Record<string, ActionData>
export type Action = keyof typeof ACTIONS
export const actionNames = Object.keys(ACTIONS) as Action[]

/** Each of the `users` sends one request a second; meanwhile a `flood` of others log in as soon as they have an answer, whatever it is, once a second at most. */
export type Stage = { seconds: number, users: number, flood: number }

export const PROFILES = {
  smoke: [{ seconds: 30, users: 10, flood: 0 }],
  load: [{ seconds: 300, users: 100, flood: 0 }],
  stress: [100, 200, 300, 400].map((users) => ({ seconds: 60, users, flood: 2 * users })),
  soak: [{ seconds: 3600, users: 50, flood: 0 }],
  spike: [{ seconds: 30, users: 50, flood: 0 }, { seconds: 60, users: 200, flood: 1000 }, { seconds: 60, users: 50, flood: 0 }]
} satisfies Record<string, Stage[]>
export type Profile = keyof typeof PROFILES
export const profileNames = Object.keys(PROFILES) as Profile[]

/**
 * What part of the requests may miss each objective. The first three are those of deploy/prometheus/rules/objectives.yml.
 * A refusal is a 503 with Retry-After where a profile has more logins than can be hashed. What users did not send in time tells of a client, or of answers,
 * too slow for it; how much a flood sends is up to the answers.
 */
export const OBJECTIVES = {
  availability: { budget: 0.001, withinMs: undefined, promise: 'are answered, and as they should be' },
  latency: { budget: 0.01, withinMs: 250, promise: 'of answers take 250 ms or less' },
  'hashing-latency': { budget: 0.01, withinMs: 2500, promise: 'of those with a password take 2.5 s or less' },
  refusals: { budget: 0.01, withinMs: 100, promise: 'of refusals take 100 ms or less' },
  schedule: { budget: 0.05, withinMs: undefined, promise: 'of what was planned is sent' }
} as const
export type Objective = keyof typeof OBJECTIVES
export const objectiveNames = Object.keys(OBJECTIVES) as Objective[]

/** The settings of the limits, by the names that RateLimit-Policy gives them. */
export const SETTINGS: Record<string, string> = {
  address: 'RATE_LIMIT_MAX',
  user: 'RATE_LIMIT_USER_MAX',
  session: 'RATE_LIMIT_REFRESH_MAX',
  register: 'RATE_LIMIT_REGISTER_MAX',
  login: 'RATE_LIMIT_LOGIN_MAX',
  'login-address': 'RATE_LIMIT_LOGIN_ADDRESS_MAX',
  account: 'RATE_LIMIT_ACCOUNT_MAX'
}

/** Longer than the service lets any answer take by default (REQUEST_TIMEOUT, 12 s). */
export const ANSWER_SECONDS = 15
export const MOST_SECONDS = 4 * 3600

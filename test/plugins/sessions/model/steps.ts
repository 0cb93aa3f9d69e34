import fc from 'fast-check'
import { SESSION_LIMIT } from '../model.ts'
import { ACTIONS, FLAWS, type Draft, type Name } from './actions.ts'
import type { Held } from './database.ts'
import type { Step } from './live.ts'

const NAMES = Object.keys(ACTIONS) as Name[]

const name = fc.oneof(fc.constantFrom<Name>('signIn', 'refresh'), fc.constantFrom(...NAMES))
const draft: fc.Arbitrary<Draft> = fc.record({
  name,
  who: fc.constantFrom('ada', 'ada', 'ada', 'bob'),
  session: fc.constantFrom(0, 0, 2, 4, 6, 1, 3, 5),
  other: fc.constantFrom(2, 0, 4, 6, 1, 3, 5),
  age: fc.constantFrom(0, 0, 0, -1, -1, -1, -2, -3, 1, 2),
  isRight: fc.constantFrom(true, true, true, false),
  flaw: fc.constantFrom(...FLAWS, 'none', 'none', 'none', 'none', 'none', 'none'),
  replica: fc.nat(2),
  secret: fc.constantFrom(1, 1, 0)
})

const one = draft.map((draft) => ({ drafts: [draft] }))
// Of few kinds, since races are between like or between two.
const many = fc.record({
  names: fc.array(name, { minLength: 1, maxLength: 4 }),
  drafts: fc.array(draft, { minLength: 2, maxLength: 5 }),
  held: fc.constantFrom<Held | undefined>(undefined, 'accounts', 'sessions')
}).map(({ names, drafts, held }) => ({ drafts: drafts.map((draft, i) => ({ ...draft, name: names[i % names.length]! })), held }))

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: one },
  { weight: 5, arbitrary: many },
  { weight: 2, arbitrary: fc.record({ ticks: fc.constantFrom(1, 2, 2, 5, 5, 10, 20, 500) }) },
  { weight: 1, arbitrary: fc.record({ key: fc.constantFrom('added', 'replaced') }) }
)

const plain: Draft = { name: 'signIn', who: 'ada', session: 0, other: 0, age: 0, isRight: true, flaw: 'none', replica: 0, secret: 1 }
const hello: Step = { drafts: [plain] }
// Whether the refresh tokens of live sessions are accepted cannot be seen without spending them.
const farewell: Step = { drafts: [0, 2, 4].map((session, replica) => ({ ...plain, name: 'refresh', session, replica })) }

/** A life: it begins with one session or as many as there may be, and at its end what should work is used. */
export const lives = fc.record({
  sessions: fc.constantFrom(1, SESSION_LIMIT),
  steps: fc.array(step, { minLength: 1, maxLength: 12, size: 'max' })
}).map(({ sessions, steps }) => [...Array<Step>(sessions).fill(hello), ...steps, farewell])

import fc from 'fast-check'
import { SESSION_LIMIT } from '../model.ts'
import { ACTIONS, FLAWS, type Draft, type Name } from './actions.ts'
import type { Step } from './live.ts'

const NAMES = Object.keys(ACTIONS) as Name[]

const draft: fc.Arbitrary<Draft> = fc.record({
  name: fc.oneof({ weight: 3, arbitrary: fc.constantFrom<Name>('signIn', 'refresh') }, { weight: 2, arbitrary: fc.constantFrom(...NAMES) }),
  who: fc.constantFrom('ada', 'ada', 'ada', 'bob'),
  session: fc.constantFrom(0, 0, 2, 4, 6, 1, 3, 5),
  other: fc.constantFrom(2, 0, 4, 6, 1, 3, 5),
  age: fc.constantFrom(0, 0, 0, 0, -1, -1, -1, -2, -3, 1, 2),
  isRight: fc.constantFrom(true, true, true, false),
  flaw: fc.constantFrom(...FLAWS, 'none', 'none', 'none', 'none'),
  replica: fc.nat(2),
  secret: fc.constantFrom(1, 1, 0)
})

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ drafts: draft.map((draft) => [draft]) }) },
  { weight: 5, arbitrary: fc.record({ drafts: fc.array(draft, { minLength: 2, maxLength: 5 }), held: fc.constantFrom(undefined, 'accounts', 'sessions') }) },
  { weight: 2, arbitrary: fc.record({ ticks: fc.constantFrom(1, 2, 5, 10, 20, 500) }) },
  { weight: 1, arbitrary: fc.record({ key: fc.constantFrom('added', 'withdrawn') }) }
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

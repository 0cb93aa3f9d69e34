import fc from 'fast-check'
import { printed, write, type Request } from './bytes.ts'
import type { Answer } from './connection.ts'
import type { Test } from 'tap'

/** How often, for how long, from which seed; `only` is one path of one property, to be run again. */
export type Plan = { seed: number, runs: number, seconds: number, only?: string }

/** Where the service listens, which is started again if it has ended, and what it complained of since it was asked last. */
export type Service = { address: () => Promise<URL>, complaint?: () => string | undefined }

/** Why a property does not hold, with the exchange that shows it. */
export class Complaint extends Error {
  details: object

  constructor (message: string, request?: Request, answer?: Answer) {
    super(message)
    this.details = { request: request && printed(write(request)), answer: answer && `${answer.status} ${JSON.stringify(answer.headers)}\n${answer.body}` }
  }
}

/** Whether a property was run: where another one is to be run again, it is not. Its failure is told with all it takes to repeat it. */
export async function holds<Value> (t: Test, name: string, values: fc.Arbitrary<Value>, check: (value: Value) => Promise<void>, { seed, runs, seconds, only }: Plan) {
  const [, wanted = name, path] = only?.match(/^(\w+):(.*)$/) ?? []
  if (wanted !== name) return false
  const endsAt = performance.now() + seconds * 1000
  let done = 0
  // By a limit of its own fast-check would give up on an answer that does not come, and call that no failure.
  const property = fc.asyncProperty(values, async (value) => {
    if (performance.now() > endsAt) return
    done++
    await check(value)
  })
  const { failed, numRuns, counterexamplePath, errorInstance } = await fc.check(property, { seed: seedOf(name, seed), path, numRuns: runs })
  if (!failed) return t.pass(`${name}: ${done} runs${done < runs ? ', then its time was over' : ''}`)
  const { message, details } = errorInstance as Complaint
  const again = `FUZZ_SEED=${seed} FUZZ_PATH=${name}:${counterexamplePath} npm run fuzz\n`
  t.fail(`${name}, run ${numRuns}: ${message}`, { ...details, again, at: null })
  return true
}

/** Each property has a seed of its own, or like operations would be sent like requests. */
const seedOf = (name: string, seed: number) => [...name].reduce((sum, character) => Math.imul(sum, 31) + character.charCodeAt(0) | 0, seed)

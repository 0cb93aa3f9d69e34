import fc from 'fast-check'
import { live } from './live.ts'
import { startReplicas } from './replicas.ts'
import { lives } from './steps.ts'
import type { Test } from 'tap'

/** How many lives from which seed, for how long at most; `path` is one that is to be lived again. */
export type Plan = { seed: number, runs: number, seconds: number, path?: string, onLife?: (count: number) => void }
type Failure = Error & { trace: string[] }

const SHRINK_SECONDS = 20
const TIMES = 50

/** That sessions are as the model says. A failure is told with all it takes to repeat it, which is done several times, since it may be a race. */
export async function holds (t: Test, { seed, runs, seconds, path, onLife = () => {} }: Plan) {
  const service = await startReplicas(t)
  let endsAt = performance.now() + seconds * 1000
  let count = 0
  const times = path === undefined ? 1 : TIMES
  // By a limit of its own fast-check would give up on an answer that does not come, and call that no failure.
  const property = fc.asyncProperty(lives, async (steps) => {
    if (performance.now() > endsAt) return
    for (let time = 0; time < times; time++) {
      onLife(++count)
      const trace: string[] = []
      await live(service, steps, trace).catch((error) => {
        endsAt = Math.min(endsAt, performance.now() + SHRINK_SECONDS * 1000)
        throw Object.assign(error, { trace })
      })
    }
  })
  const { failed, numRuns, counterexamplePath, errorInstance } = await fc.check(property, { seed, path, numRuns: runs })
  if (!failed) {
    t.pass(`${count} lives${count < runs ? ', then its time was over' : ''}`)
    return
  }
  const { message, trace } = errorInstance as Failure
  const again = `MODEL_SEED=${seed} MODEL_PATH=${counterexamplePath} npm run test:model\n`
  t.fail(`life ${numRuns}: ${message}`, { trace: `${trace.join('\n')}\n`, again, at: null })
}

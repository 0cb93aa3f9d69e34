import { test, type Test } from 'tap'
import { build } from '../helper.ts'
import { fuzzOperations } from './operations.ts'
import { OPS_TOKEN } from './persona.ts'
import { fuzzSequences } from './sequences.ts'
import { SESSION_LIMIT } from './world.ts'

const SEED = 97
const SECONDS = 60

/** The service, listening. */
async function serve (t: Test) {
  const app = await build(t, { OPS_TOKEN, SESSION_LIMIT: String(SESSION_LIMIT) })
  const address = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  return { address: async () => address }
}

test('whatever an operation is sent, it answers as documented', async (t) => {
  await fuzzOperations(t, await serve(t), { seed: SEED, runs: 900, seconds: SECONDS })
  for (const name in {}) t.fail(`Object.prototype has got ${name}`)
})

test('whatever users do, all is as it should be after each step', async (t) => {
  await fuzzSequences(t, await serve(t), { seed: SEED, runs: 60, seconds: SECONDS })
})

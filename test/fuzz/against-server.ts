import { randomInt } from 'node:crypto'
import { test } from 'tap'
import { fuzzOperations } from './operations.ts'
import { fuzzSequences } from './sequences.ts'
import { startServer } from './server.ts'

const { FUZZ_SEED, FUZZ_RUNS = '10000', FUZZ_SECONDS = '600', FUZZ_PATH } = process.env
const REQUESTS_A_SEQUENCE = 20

const seed = FUZZ_SEED === undefined ? randomInt(2 ** 31) : Number(FUZZ_SEED)
const plan = { seed, runs: Number(FUZZ_RUNS), seconds: Number(FUZZ_SECONDS) / 2, only: FUZZ_PATH }
const say = (text: string) => process.stderr.write(`${text}\n`)

test(`FUZZ_SEED=${seed}`, async (t) => {
  say(`FUZZ_SEED=${seed} FUZZ_RUNS=${plan.runs} FUZZ_SECONDS=${FUZZ_SECONDS}`)
  const server = await startServer(t)
  await fuzzOperations(t, server, plan, say)
  await fuzzSequences(t, server, { ...plan, runs: Math.ceil(plan.runs / REQUESTS_A_SEQUENCE) })

  t.equal(server.complaint(), undefined, 'nothing went wrong that no answer shows')
  t.match(await server.stop(), { code: 0, stderr: '' }, 'it was alive until it was asked to stop')
})

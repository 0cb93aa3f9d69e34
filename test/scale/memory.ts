import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'tap'
import { loadConfig } from '../../plugins/config/index.ts'
import { createFeed } from '../../plugins/revocations/feed.ts'
import { createRevocations } from '../../plugins/revocations/memory.ts'
import { within } from '../../plugins/within.ts'
import { settings, sql } from '../helper.ts'
import { median } from '../timing/statistics.ts'
import { insertRevocations } from './rows.ts'
import { table } from './table.ts'

const ROWS = 100_000
const READS = 50

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

test('what a revocation takes in the memory of a replica, and reading them in time', async (t) => {
  await insertRevocations(ROWS)
  await sql('vacuum analyze revocations')

  const whole: number[] = []
  const next: number[] = []
  for (let i = 0; i < 5; i++) {
    const { read, stop } = createFeed(loadConfig(settings), within)
    whole.push(await timed(read))
    for (let i = 0; i < READS; i++) next.push(await timed(read))
    stop()
  }
  const { read, stop } = createFeed(loadConfig(settings), within)
  t.teardown(stop)
  const revocations = createRevocations({ read, within })
  const before = used()
  await revocations.refresh()
  await revocations.refresh()
  const bytes = (used() - before) / ROWS
  const [sample] = await sql<{ id: string }>('select session_id as id from revocations limit 1')
  t.equal(revocations.isRevoked(sample!.id), true)

  table(t, [`${ROWS} revocations`, ''], [
    ['memory of a replica', `${(bytes * ROWS / 1e6).toFixed(1)} MB`],
    ['an id of them', `${bytes.toFixed()} B`],
    ['reading all of them', `${median(whole).toFixed()} ms`],
    ['reading what is new, which is nothing', `${median(next).toFixed(1)} ms`]
  ])
})

async function timed (work: () => Promise<unknown>) {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

function used () {
  for (let i = 0; i < 3; i++) collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

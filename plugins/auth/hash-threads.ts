import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, setPriority } from 'node:os'
import { join } from 'node:path'

const NICENESS = 10

/**
 * Lets the event loop go before the hashes, where all cores are busy: libuv's threads get the lower priority. On Linux each thread
 * has one of its own (sched(7)); elsewhere, and where it may not be changed, all stays as it is. So it does on one core, where a
 * busy loop would leave nothing to the hashes.
 */
export function letLoopGoFirst (cores = availableParallelism(), tasks = '/proc/self/task') {
  if (cores === 1) return
  try {
    for (const id of readdirSync(tasks)) if (readFileSync(join(tasks, id, 'comm'), 'utf8') === 'libuv-worker\n') setPriority(Number(id), NICENESS)
  } catch { /* it is no promise */ }
}

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { PASSWORD } from '../../../helper.ts'
import { run } from '../../../processes.ts'
import type { Reply } from './peer.ts'
import type { Test } from 'tap'

type Job = { seconds: number, rate: number, connections: number }
type Timed = Reply & { ms: number, endedAfterMs: number }
type Wave = { replies: Timed[], /** The part of the machine that was left to the service. */ left: number, from: number, to: number }

/** Has a process of its own log in again and again. */
export function createLogins (t: Test, address: string, users: { email: string }[]) {
  return async function logIn (job: Job, countedFrom = 0): Promise<Wave> {
    const task = { ...job, address, password: PASSWORD, emails: users.map(({ email }) => email) }
    const [startedAt, cpuBefore] = [performance.now(), process.cpuUsage()]
    const { stdout, stderr } = await run(t, 'test/chaos/rows/flood/client.ts', [JSON.stringify(task)])
    const { user, system } = process.cpuUsage(cpuBefore)
    const ours = (user + system) / 1000 / (performance.now() - startedAt)      // who watches, and reads the log
    if (stderr) throw new Error(stderr)
    const { replies, cpuMs } = JSON.parse(stdout)
    const to = job.seconds * 1000
    return { replies, left: 1 - (cpuMs / to + ours) / availableParallelism(), from: countedFrom, to }
  }
}

/** Successes a second, had the clients and who watches been on other machines, as they are. */
export function goodput ({ replies, left, from, to }: Wave) {
  const good = replies.filter(({ status, endedAfterMs }) => status === 200 && endedAfterMs >= from && endedAfterMs < to)
  return good.length / (to - from) * 1000 / left
}

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { PASSWORD } from '../../../helper.ts'
import { run } from '../../../processes.ts'
import type { Reply } from './peer.ts'
import type { Test } from 'tap'

type Job = { seconds: number, rate: number, connections: number }
type Timed = Reply & { ms: number, endedAfterMs: number }
type Wave = {
  replies: Timed[]
  from: number
  to: number
  /** The part of the machine that was left to the service. */
  left: number
  /** What one hash took of the CPU, which tells how fast the machine was meanwhile; 0 where that is not known. */
  msOfHash: number
}

/** Has a process of its own log in again and again; `hashCpuMs` is what hashes have taken of the CPU so far. */
export function createLogins (t: Test, address: string, users: { email: string }[], hashCpuMs: () => Promise<number>) {
  return async function logIn (job: Job, countedFrom = 0): Promise<Wave> {
    const task = { ...job, address, password: PASSWORD, emails: users.map(({ email }) => email) }
    const [startedAt, cpuBefore, hashedBefore] = [performance.now(), process.cpuUsage(), await hashCpuMs()]
    const { stdout, stderr } = await run(t, 'test/chaos/rows/flood/client.ts', [JSON.stringify(task)])
    const { user, system } = process.cpuUsage(cpuBefore)
    const ours = (user + system) / 1000 / (performance.now() - startedAt)      // who watches, and reads the log
    if (stderr) throw new Error(stderr)
    const { replies, cpuMs } = JSON.parse(stdout)
    const to = job.seconds * 1000
    const msOfHash = (await hashCpuMs() - hashedBefore) / replies.filter(isGood).length
    return { replies, from: countedFrom, to, left: 1 - (cpuMs / to + ours) / availableParallelism(), msOfHash }
  }
}

const isGood = ({ status }: Reply) => status === 200

/** Successes a second, had the clients and who watches been on other machines, as they are. */
export function goodput ({ replies, left, from, to }: Wave) {
  const good = replies.filter((reply) => isGood(reply) && reply.endedAfterMs >= from && reply.endedAfterMs < to)
  return good.length / (to - from) * 1000 / left
}

/** The same in what it took of the CPU, so that it does not matter whether the machine was slower in one wave than in another. */
export const work = (wave: Wave) => goodput(wave) * (wave.msOfHash || 1)

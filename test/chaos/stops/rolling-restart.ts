import { eventually } from '../../eventually.ts'
import { listening } from '../../processes.ts'
import { startBalancer } from './balancer.ts'
import { createDatabase } from './database.ts'
import { startLoad } from './load.ts'
import { count, ending, isInOrder, range, startServer, type Ending } from './server.ts'
import type { Row } from '../row.ts'
import type { Test } from 'tap'

const REPLICAS = 3
const CLIENTS = 6
const SOME = 60

/** So many of three replicas end, one after another, and another takes the place of each. */
const restart = (replacements: number, delayMs: number) => async (t: Test) => {
  const [balancer, database] = await Promise.all([startBalancer(t), createDatabase(t)])
  const replicas = await Promise.all(Array.from({ length: REPLICAS }, launch))
  await eventually(() => balancer.ready === REPLICAS, 30_000)
  const load = startLoad(t, balancer.origin, CLIENTS)
  const endings: Ending[] = []
  for (const { server, origin } of replicas.slice(0, replacements)) {
    await load.flow(SOME)
    const [end] = await Promise.all([ending(server), launch()])
    endings.push(end)
    balancer.remove(origin)
    await eventually(() => balancer.ready === REPLICAS, 30_000)
  }
  await load.flow(SOME)
  await load.stop()

  const failed = load.samples.filter(({ isGood }) => !isGood)
  return {
    measured: [
      `${count(load.samples.length)} requests, ${failed.length} failed`,
      `exits ${endings.map(({ code }) => code).join()} after ${range(endings.map(({ seconds }) => seconds))} s`
    ].join('; '),
    isKept: failed.length === 0 && endings.every(isInOrder),
    evidence: [...failed.slice(0, 5), ...endings.filter((end) => !isInOrder(end))]
  }

  async function launch () {
    const server = startServer(t, database.url, { SHUTDOWN_DELAY: String(delayMs) })
    const origin = await listening(server)
    balancer.add(origin)
    return { server, origin }
  }
}

const promise = 'no request fails, each ends with 0 within 20 s'

export const rollingRestart: Row[] = [
  { fault: 'rolling restart: all of three replicas, one after another', promise, endure: restart(REPLICAS, 1500) },
  { fault: 'rolling restart: two of three replicas, which drain for 0.5 s', promise, endure: restart(2, 500), isShort: true }
]

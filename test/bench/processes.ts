import { spawn, spawnSync, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { eventually } from '../eventually.ts'
import { freePort } from '../port.ts'
import type { Test } from 'tap'
import type { Outcome, Plan } from './generator.ts'

type Env = Record<string, string | undefined>
/** `first`: what answers, alone on a core; `rest`: who asks, and the databases; `any`: hashes use all cores. */
type Place = keyof typeof CORES

const ROOT = join(import.meta.dirname, '../..')
const HERE = 'test/bench'
const START_MS = 30_000
const TICKS_PER_SECOND = 100
export const CORE_COUNT = cpus().length
const CORES = { first: '0', rest: `1-${CORE_COUNT - 1}`, any: `0-${CORE_COUNT - 1}` }
/** Without it, or with one core, those who answer and those who ask disturb one another. */
export const isPinned = CORE_COUNT > 1 && spawnSync('taskset', ['--version']).status === 0

/** What the figures were measured on. */
export function machine () {
  return `${CORE_COUNT} x ${cpus()[0]!.model}, ${Math.round(totalmem() / 2 ** 30)} GB, ${process.platform} ${release()}, Node ${process.versions.node}${isPinned ? '' : ', not pinned to cores'}`
}

/** This process, and the databases that it starts from now on. Throws where Linux does not tell what processes take. */
export function stepAside () {
  if (process.platform !== 'linux') throw new Error('this is measured on Linux alone: what a process takes is read from /proc')
  if (isPinned) spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', CORES.rest, String(process.pid)])
}

/** A process of its own, without what tap adds to ours. */
function launch (t: Test, file: string, args: string[], env: Env, place: Place, stdio: StdioOptions) {
  const { NODE_OPTIONS: _, ...inherited } = process.env
  const command = [process.execPath, join(ROOT, file), ...args]
  const [program, ...rest] = isPinned ? ['taskset', '--cpu-list', CORES[place], ...command] : command
  const child = spawn(program!, rest, { env: { ...inherited, ...env }, stdio })
  t.teardown(() => end(child))
  return child
}

async function end (child: ChildProcess) {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

export type Server = Awaited<ReturnType<typeof startServer>>

/** A server, ready; what it logs goes into a file. */
export async function startServer (t: Test, file: string, env: Env, place: Place = 'first') {
  const port = await freePort()
  const log = openSync(join(t.testdir({}), `${port}.log`), 'w')
  const child = launch(t, file, [], { ...env, PORT: String(port) }, place, ['ignore', log, 'inherit'])
  const url = `http://127.0.0.1:${port}`
  await eventually(() => isUp(url), START_MS)
  return {
    url,
    stop: () => end(child),
    signal: (name: NodeJS.Signals) => child.kill(name),
    cpuSeconds: () => cpuSecondsOf(child.pid!),
    memoryMb: () => memoryMbOf(child.pid!)
  }
}

// Bare Fastify has no /ready: what it answers with shows that it is there.
async function isUp (url: string) {
  const { status } = await fetch(`${url}/ready`).catch(() => ({ status: undefined }))
  return status === 200 || status === 404
}

/** How long a process takes until it says that it listens, ms. */
export async function startMs (t: Test, file: string, env: Env) {
  const startedAt = performance.now()
  const child = launch(t, file, [], { ...env, PORT: '0' }, 'first', ['ignore', 'pipe', 'inherit'])
  const { promise: listening, resolve, reject } = Promise.withResolvers<void>()
  let output = ''
  child.once('exit', () => reject(new Error(`it has ended: ${output}`)))
  // It is read to its end: the process would have nowhere to write to.
  child.stdout!.on('data', (chunk) => {
    output += chunk
    if (output.includes('listening on')) resolve()
  })
  await listening
  const ms = performance.now() - startedAt
  await end(child)
  return ms
}

/** What a floor that needs no server reaches, per second. */
export async function measure (t: Test, file: string, args: (string | number)[], env: Env, place: Place = 'first'): Promise<number> {
  const child = launch(t, `${HERE}/floors/${file}`, args.map(String), env, place, ['ignore', 'inherit', 'inherit', 'ipc'])
  const perSecond = await messageOf<number>(child)
  await once(child, 'exit')
  return perSecond
}

/** A load generator, which is warm after its first plan. */
export function startGenerator (t: Test, place: Place = 'rest') {
  const child = launch(t, `${HERE}/generator.ts`, [], {}, place, ['ignore', 'inherit', 'inherit', 'ipc'])
  return async function generate (plan: Plan): Promise<Outcome> {
    child.send(plan)
    return messageOf(child)
  }
}

async function messageOf<Message> (child: ChildProcess): Promise<Message> {
  const heard = new AbortController()
  const ended = once(child, 'close', heard).then(([code, signal]) => { throw new Error(`${child.spawnargs.join(' ')} ended with ${code ?? signal} before it said anything`) })
  const [message] = await Promise.race([once(child, 'message', heard), ended]).finally(() => heard.abort())
  return message
}

function cpuSecondsOf (pid: number) {
  const [, user, system] = /^\d+ \(.*\) \S(?: -?\d+){10} (\d+) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))!
  return (Number(user) + Number(system)) / TICKS_PER_SECOND
}

function memoryMbOf (pid: number) {
  const [, kB] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!
  return Number(kB) / 1024
}

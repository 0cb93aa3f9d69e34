import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../eventually.ts'
import { settings } from '../../helper.ts'
import { createDatabase } from './database.ts'
import { range } from './server.ts'
import type { Row } from '../row.ts'
import type { Test } from 'tap'

type Contained = { pid: number, namespace: string, read: () => string, ended: Promise<{ code: number, output: string }> }

const SERVER = join(import.meta.dirname, '../../../server.ts')
const STEPS = 5
const TICK_MS = 10
const PATIENCE_MS = 2000

/** Node as the first process of a PID namespace, as in a container; the loader of the tests stays outside, which would change how it starts. */
async function contain (t: Test, databaseUrl: string): Promise<Contained> {
  const user = process.geteuid!() === 0 ? [] : ['--user', '--map-root-user']
  const env = { ...process.env, ...settings, LOG_LEVEL: 'info', PORT: '0', DATABASE_URL: databaseUrl, MIGRATE_ON_START: 'true' }
  const outer = spawn('unshare', [...user, '--pid', '--fork', '--mount-proc', '--kill-child', 'env', '-u', 'NODE_OPTIONS', process.execPath, SERVER], { env, stdio: 'pipe' })
  let output = ''
  for (const stream of [outer.stdout, outer.stderr]) stream.on('data', (chunk) => { output += chunk })
  const ended = once(outer, 'close').then(([code]) => ({ code, output }))
  t.teardown(() => outer.kill('SIGKILL'))
  let pid = 0
  await eventually(async () => {
    pid = Number(await readFile(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8').catch(() => ''))
    return pid > 0 && (await readlink(`/proc/${pid}/exe`).catch(() => '')) === process.execPath
  })
  return { pid, namespace: await readlink(`/proc/${pid}/ns/pid`), read: () => output, ended }
}

/** How long it has worked so far, which is the same however busy the machine is (proc_pid_stat(5), fields 14 and 15). */
async function workedMs ({ pid }: Contained) {
  const [user, system] = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ').slice(11, 13)
  return (Number(user) + Number(system)) * TICK_MS
}

/** The states of all processes of a namespace. */
async function statesIn (namespace: string) {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const states = await Promise.all(pids.map(async (pid) => {
    const isThere = await readlink(`/proc/${pid}/ns/pid`).catch(() => '') === namespace
    return isThere ? /State:\s*(\w)/.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] : undefined
  }))
  return states.filter((state) => state !== undefined)
}

async function terminate ({ pid, namespace, read, ended }: Contained) {
  const states = await statesIn(namespace)
  const stoppedAt = performance.now()
  process.kill(pid, 'SIGTERM')
  const isDeaf = await staysDespite(ended, read)
  if (isDeaf) process.kill(pid, 'SIGKILL')
  const { code, output } = await ended
  const zombies = states.filter((state) => state === 'Z').length
  return { isDeaf, code, seconds: (performance.now() - stoppedAt) / 1000, zombies, left: (await statesIn(namespace)).length, output }
}

/** Who has heard the signal ends; a start that is nearly done may tell of itself before that. */
async function staysDespite (ended: Promise<unknown>, read: () => string) {
  let hasEnded = false
  ended.then(() => { hasEnded = true })
  await eventually(() => hasEnded || isListening(read), 60_000)
  return Promise.race([ended.then(() => false), delay(PATIENCE_MS, true, { ref: false })])
}

const isListening = (read: () => string) => read().includes('listening on')

export const firstProcess: Row = {
  fault: 'SIGTERM as the first process of a container, ready or still starting',
  promise: 'exit 0, no process left; it hears signals before it loads what takes long',
  async endure (t) {
    const { url } = await createDatabase(t)
    const server = await contain(t, url)
    await eventually(() => isListening(server.read), 60_000)
    const startMs = await workedMs(server)
    await eventually(() => server.read().includes('"migrations":'), 60_000)
    const ends = [await terminate(server)]
    let [deafMs, hearingMs] = [0, startMs]
    for (let i = 0; i < STEPS; i++) {
      const ms = (deafMs + hearingMs) / 2
      const starting = await contain(t, url)
      await eventually(async () => await workedMs(starting) >= ms, 60_000)
      const end = await terminate(starting)
      if (end.isDeaf) deafMs = ms
      else hearingMs = ms
      ends.push(end)
    }

    const heard = ends.filter(({ isDeaf }) => !isDeaf)
    const isOrderly = heard.every(({ code, zombies, left }) => code === 0 && zombies === 0 && left === 0)
    return {
      measured: [
        `exit ${heard.map(({ code }) => code).join()} after ${range(heard.map(({ seconds }) => seconds))} s, ${heard[0]!.left} processes left`,
        `deaf for the first ${Math.round(deafMs)} of the ${startMs} ms of work of its start`
      ].join('; '),
      isKept: isOrderly && deafMs < startMs / 4,
      evidence: ends
    }
  }
}

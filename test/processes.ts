import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from './eventually.ts'
import type { Test } from 'tap'

type Outcome = { code: number | null, signal: string | null, stdout: string, stderr: string }
type Env = Record<string, string | undefined>

/** A process of ours, started as an operator would, with these settings and no others. It is gone when the test ends. */
export function start (t: Test, file: string, args: string[] = [], env: Env = {}, nodeArgs: string[] = []) {
  const child = spawn(process.execPath, [...nodeArgs, resolve(import.meta.dirname, '..', file), ...args], {
    env: { ...withoutSettings(process.env), ...env },
    stdio: 'pipe'
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => { output.stdout += chunk })
  child.stderr.on('data', (chunk) => { output.stderr += chunk })
  const ended: Promise<Outcome> = once(child, 'close').then(([code, signal]) => ({ code, signal, ...output }))
  t.teardown(() => stop(child))
  return Object.assign(output, { child, ended })      // the output so far, and what it came to
}

/** Runs it to its end; there is nothing for it to read. */
export async function run (t: Test, ...what: [file: string, args?: string[], env?: Env, nodeArgs?: string[]]) {
  const { child, ended } = start(t, ...what)
  child.stdin.end()
  return ended
}

/** The address of a server of ours, once it accepts requests. */
export async function listening (server: ReturnType<typeof start>) {
  const address = () => server.stdout.match(/listening on (http:\/\/[\d.]+:\d+)/)?.[1]
  await eventually(() => {
    if (server.child.exitCode !== null) throw new Error(`it has ended: ${server.stderr}`)
    return address() !== undefined
  }, 30_000)
  return address()!
}

/** Its address, once traffic may come. */
export async function ready (server: ReturnType<typeof start>) {
  const address = await listening(server)
  await eventually(async () => (await fetch(`${address}/ready`)).ok, 30_000)
  return address
}

/** As a Ctrl-C comes to what npm has started: from the terminal, and from npm. */
export async function signalTwice ({ child }: ReturnType<typeof start>, signal: NodeJS.Signals) {
  child.kill(signal)
  await delay(TWIN_MS)
  child.kill(signal)
}

/** Root's state folder is the machine's: with this it is one of ours, in XDG_STATE_HOME. */
export const WITH_OWN_STATE = preload(`
  const { geteuid } = process;
  process.geteuid = () => new Error().stack.includes(' at stateFolder ') ? 1000 : geteuid();`)

/** Has Node run this first: what a test changes of the world around a process of ours. */
export function preload (script: string) {
  return ['--import', `data:text/javascript,${encodeURIComponent(script)}`]
}

async function stop (child: ChildProcess) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const patience = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
  child.kill('SIGTERM')
  await once(child, 'close')
  clearTimeout(patience)
}

const PATIENCE_MS = 10_000
const TWIN_MS = 20
const OURS = /^(NODE_ENV|HOST|PORT|LOG_LEVEL|DATABASE_URL|DB_|MIGRATE_|REDIS_|JWT_|ACCESS_TOKEN|REFRESH_|SESSION_LIMIT|PASSWORD_|ARGON2_|HASH_|RATE_LIMIT_|TRUSTED_|ALLOWED_|REQUEST_TIMEOUT|SHUTDOWN_|OPS_TOKEN|ALERT_|OTEL_|PG|XDG_)/

function withoutSettings (env: NodeJS.ProcessEnv) {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !OURS.test(name)))
}

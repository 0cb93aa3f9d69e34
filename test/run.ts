import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { serverOwner } from '../plugins/db/embedded-binaries.ts'
import { startEmbedded } from '../plugins/db/embedded.ts'
import { migrate } from '../plugins/migrations.ts'
import { bring } from './debian-packages.ts'
import type { ChildProcess } from 'node:child_process'

const PATIENCE_MS = 10_000
const TEMPLATE = 'template_microts'

let tap: ChildProcess | undefined
let signal: NodeJS.Signals | undefined
const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, interrupt)

const folder = await temporaryFolder()
const guard = spawn(process.execPath, [join(import.meta.dirname, 'run-guard.ts'), folder], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
try {
  const redis = await bring('redis-server', { packages: ['redis-server', 'redis-tools'], program: 'usr/bin/redis-server', aliases: ['valkey-server'], signal: interrupted.signal })
  const database = await startEmbedded({ folder: join(folder, 'postgresql'), durable: false, maxConnections: 300 })
  await createTemplate(database.url)
  process.exitCode = signal ? 1 : await runTap({ TEST_DATABASE_URL: database.url, TEST_DATABASE_TEMPLATE: TEMPLATE, TEST_REDIS_SERVER: redis.path, TEST_REDIS_ENV: JSON.stringify(redis.env) })
  await database.stop()
} catch (error) {
  if (!signal) console.error((error as Error).message)
  process.exitCode = 1
} finally {
  guard.stdin.end()
  await once(guard, 'exit')
}
if (signal) process.exitCode = 128 + constants.signals[signal]

/** A database that is migrated, and empty but for that: what each test file gets a copy of. Nobody may connect to one that is copied. */
async function createTemplate (admin: string) {
  const client = new pg.Client(admin)
  await client.connect()
  await client.query(`create database ${TEMPLATE}`)
  await migrate({ databaseUrl: Object.assign(new URL(admin), { pathname: `/${TEMPLATE}` }).href, direction: 'up', log: { debug () {}, warn () {} }, signal: interrupted.signal })
  await client.query(`alter database ${TEMPLATE} allow_connections false`)
  await client.end()
}

/** In a session of its own, so that whatever a test leaves behind can be found, and ended, as one group. */
async function runTap (servers: Record<string, string>) {
  const program = fileURLToPath(new URL('run.mjs', import.meta.resolve('tap')))
  const env = { ...process.env, TMPDIR: folder, ...servers }
  tap = spawn(process.execPath, [program, ...process.argv.slice(2)], { detached: true, stdio: 'inherit', env })
  guard.stdin.write(`${tap.pid}\n`)
  const [code] = await once(tap, 'exit')
  return code ?? 1
}

/** Tap's group gets what the terminal would send it; a second signal, or a long wait, kills it. */
function interrupt (name: NodeJS.Signals) {
  killTap(signal ? 'SIGKILL' : name)
  signal ??= name
  interrupted.abort()
  setTimeout(killTap, PATIENCE_MS, 'SIGKILL').unref()
}

function killTap (name: NodeJS.Signals) {
  try {
    if (tap?.pid) process.kill(-tap.pid, name)
  } catch {
    // it has ended
  }
}

/** A folder that the user of the server may enter, and run programs in. */
async function temporaryFolder () {
  const owner = await serverOwner()
  for (const parent of [tmpdir(), '/tmp', '/var/tmp']) {
    const path = await mkdtemp(join(parent, 'microts-test-')).then((path) => realpath(path), () => undefined)
    if (!path) continue
    const program = join(path, 'program')
    await writeFile(program, '#!/bin/sh\n')
    await chmod(path, 0o711)
    await chmod(program, 0o755)
    if (process.platform === 'win32' || spawnSync(program, { ...owner, cwd: '/' }).status === 0) return path
    await rm(path, { recursive: true })
  }
  throw new Error('Neither TMPDIR nor /tmp nor /var/tmp is a folder where the database of the tests can run')
}

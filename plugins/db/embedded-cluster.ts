import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, link, mkdir, open, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { findPackage, giveTo, installBinaries, makeOnce, removeUnchanged, serverOwner } from './embedded-binaries.ts'
import type { AddressInfo } from 'node:net'
import type { Owner } from './embedded-binaries.ts'

export interface ClusterOptions {
  folder: string
  onProgress?: (step: string) => void
  /** False where the data may be lost: in tests. */
  durable?: boolean
  maxConnections?: number
  /** Who runs the server; by default nobody where we are root, else the one who calls. */
  owner?: Owner
}

export type Cluster = Awaited<ReturnType<typeof openCluster>>

const DRAFT_LIFETIME_MS = 3_600_000
const LOG_LINES = 8
const NOT_DURABLE = '-c fsync=off -c synchronous_commit=off -c full_page_writes=off'

export const ignore = () => {}

/** The PostgreSQL of a folder, made where there is none yet; it runs only once it is started. */
export async function openCluster (options: ClusterOptions) {
  const { durable = true, maxConnections = 100, onProgress = ignore } = options
  const source = findPackage()
  const owner = options.owner ?? await serverOwner()
  await mkdir(options.folder, { recursive: true, mode: 0o700 })
  if (owner) await chmod(options.folder, 0o711)
  const folder = await realpath(options.folder)
  await removeOldDrafts(folder)

  const data = join(folder, 'data')
  const lockFile = join(data, 'postmaster.pid')
  const passwordFile = join(folder, 'password')
  const logFile = join(folder, 'postgresql.log')
  if (existsSync(data) && !existsSync(passwordFile)) throw new Error(`the password of its data, ${passwordFile}, is missing`)
  const binaries = await installBinaries(folder, source, owner)
  const password = await keepPassword(passwordFile, owner)
  await makeOnce(data, initialise)
  return { password, onProgress, port, start, stop }

  async function initialise (draft: string) {
    onProgress(`creating a PostgreSQL database in ${data}`)
    await mkdir(draft, { mode: 0o700 })
    await giveTo(owner, draft)
    const settings = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    await run('initdb', ['-D', draft, '-U', 'microts', '--auth=scram-sha-256', `--pwfile=${passwordFile}`, ...settings])
  }

  /** The port of the server, where one runs or ran until it was killed. */
  async function port () {
    const lock = await readFile(lockFile, 'utf8').catch(() => '')
    return Number(lock.split('\n')[3]) || undefined
  }

  async function start () {
    await dropStaleLock(lockFile, data).catch(ignore)
    const settings = `-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=${maxConnections}`
    await run('pg_ctl', ['start', '-s', '-w', '-D', data, '-o', `-p ${await freePort()} ${settings} ${durable ? '' : NOT_DURABLE}`])
  }

  async function stop () {
    await run('pg_ctl', ['stop', '-s', '-w', '-m', 'fast', '-D', data])
  }

  async function run (tool: 'initdb' | 'pg_ctl', args: string[]) {
    const log = await open(logFile, 'a', 0o600)
    try {
      const { size } = await log.stat()
      const child = spawn(join(binaries, 'bin', tool), args, {
        ...owner,
        cwd: folder,                        // one that its user may enter
        env: { LC_ALL: 'C', TZ: 'UTC' },    // no setting of the caller's reaches PostgreSQL
        stdio: ['ignore', log.fd, log.fd],
        detached: args[0] === 'stop',       // Ctrl-C interrupts a start, but not a stop
        windowsHide: true
      })
      const [code] = await once(child, 'exit')
      if (code === 0) return
      const lines = (await readFile(logFile)).subarray(size).toString().trim().split('\n')
      throw new Error(`${tool} failed: ${lines.slice(-LOG_LINES).join('\n')}`)
    } finally {
      await log.close()
    }
  }
}

/** Drafts of starters that were killed half-way. */
async function removeOldDrafts (folder: string) {
  const drafts = (await readdir(folder)).filter((name) => name.endsWith('.tmp')).map((name) => join(folder, name))
  await Promise.allSettled(drafts.map(async (draft) => {
    const { mtimeMs } = await stat(draft)
    if (mtimeMs < Date.now() - DRAFT_LIFETIME_MS) await rm(draft, { recursive: true })
  }))
}

async function keepPassword (file: string, owner: Owner | undefined) {
  await makeOnce(file, async (draft) => {
    await writeFile(draft, randomBytes(24).toString('base64url'), { mode: 0o600 })
    await giveTo(owner, draft)
  }, link)      // a rename would overwrite the one that another starter has just made
  return await readFile(file, 'utf8')
}

// PostgreSQL takes any process for its own that got the pid in its lock file: after a reboot, in a new container.
async function dropStaleLock (lockFile: string, data: string) {
  const lock = await readFile(lockFile, 'utf8')
  const command = await readFile(`/proc/${parseInt(lock)}/cmdline`, 'utf8')
  if (!command.includes(data)) await removeUnchanged(lockFile, lock)
}

/** One of the loopback that was free a moment ago. */
async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

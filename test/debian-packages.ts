import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { accessSync, constants, existsSync, globSync, statSync } from 'node:fs'
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, delimiter, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { makeOnce } from '../plugins/db/embedded-binaries.ts'
import { firstLine, needs, unpack } from './debian-unpack.ts'
import type { Env, Run } from './debian-unpack.ts'

interface Wanted {
  packages: string[]
  /** Where they have it: `usr/bin/…`. */
  program: string
  /** What it is asked, to see that it runs. */
  versionFlag?: string
  /** What else it may be called on the PATH. */
  aliases?: string[]
  env?: Env
  signal?: AbortSignal
  onProgress?: (message: string) => void
}

const BRING_TIMEOUT_MS = 20 * 60_000
const STALE_MS = 60 * 60_000
const VERSION_TIMEOUT_MS = 30_000
const OUTPUT_BYTES = 2 ** 24

/** A program of the PATH, else of Debian's packages: nothing is installed, nobody needs root. `env` is what it needs beyond ours. */
export async function bring (name: string, { packages, program, versionFlag = '--version', aliases = [], env = process.env, signal, onProgress = console.error }: Wanted) {
  for (const path of findOnPath([name, ...aliases], env)) {
    if (!await faultOf(path, versionFlag, env)) return { path, env: {} }
  }

  const timeout = AbortSignal.timeout(BRING_TIMEOUT_MS)
  const options = { env: { ...env, LC_ALL: 'C' }, signal: signal ? AbortSignal.any([signal, timeout]) : timeout, maxBuffer: OUTPUT_BYTES }
  const run: Run = (file, ...args) => promisify(execFile)(file, args, options)
  const programIn = (folder: string) => ({ path: join(folder, program), env: needs(folder, env) })
  const faultIn = (folder: string) => faultOf(join(folder, program), versionFlag, { ...env, ...needs(folder, env) })
  try {
    const target = join(resolve(env.XDG_CACHE_HOME || join(homedir(), '.cache')), 'microts', await system(), name)
    await mkdir(dirname(target), { recursive: true })
    await sweep(target)
    // The machine may have lost a library since.
    if (existsSync(target) && await faultIn(target)) await remove(target)
    await makeOnce(target, async (draft) => {
      await unpack(draft, packages, run, (progress) => onProgress(`${name}: ${progress}`))
      const fault = await faultIn(draft)
      if (fault) throw new Error(fault)
      onProgress(`${name}: kept in ${target}`)
    })
    return programIn(target)
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`There is no ${name} on the PATH, nor can one be had from Debian's packages (${timeout.aborted ? 'it took too long' : reasonOf(error)}): install ${name}`, { cause: error })
  }
}

function findOnPath (names: string[], { PATH = '' }: Env) {
  const paths = names.flatMap((name) => PATH.split(delimiter).filter(Boolean).map((folder) => resolve(folder, name)))
  return paths.filter((path) => {
    try {
      accessSync(path, constants.X_OK)
      return statSync(path).isFile()
    } catch {
      return false
    }
  })
}

/** Why it does not run: a library is missing, or it only tells of a snap. */
async function faultOf (path: string, versionFlag: string, env: Env) {
  try {
    await promisify(execFile)(path, [versionFlag], { env, timeout: VERSION_TIMEOUT_MS })
    return ''
  } catch (error) {
    return reasonOf(error)
  }
}

function reasonOf (error: unknown) {
  const { code, syscall, path, stderr, message } = error as NodeJS.ErrnoException & { stderr?: string }
  if (code === 'ENOENT' && syscall?.startsWith('spawn')) return `there is no ${path}`
  return firstLine(stderr || message)
}

async function system () {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const value = (key: string) => RegExp(`^${key}="?([\\w.-]+)`, 'm').exec(text)?.[1]
  return [value('ID') ?? process.platform, value('VERSION_ID') ?? value('VERSION_CODENAME') ?? 'any', process.arch].join('-')
}

/** Removes what runs that were killed have left. */
async function sweep (target: string) {
  const drafts = globSync(`${basename(target)}.*.tmp`, { cwd: dirname(target) }).map((draft) => join(dirname(target), draft))
  for (const draft of drafts) {
    const madeAt = statSync(draft, { throwIfNoEntry: false })?.mtimeMs ?? Infinity
    if (Date.now() - madeAt > STALE_MS) await rm(draft, { recursive: true, force: true })
  }
}

async function remove (target: string) {
  const aside = `${target}.${randomUUID()}.tmp`
  await rename(target, aside)
  await rm(aside, { recursive: true })
}

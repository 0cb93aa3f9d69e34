import { execFile } from 'node:child_process'
import { accessSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

export type Podman = Awaited<ReturnType<typeof openPodman>>
type Outcome = { code: number, stdout: string, stderr: string }

const NEEDED = ['podman', 'runc', 'debootstrap']
const TIMEOUT_MS = 10 * 60_000
const OUTPUT_BYTES = 2 ** 26

/** podman with images and containers of its own, in a folder that goes with them. */
export async function openPodman () {
  if (process.getuid?.() !== 0) throw new Error('Images are built and run here by root: sudo npm run e2e:container')
  await install()
  const folder = await mkdtemp(join(tmpdir(), 'podman-'))
  const store = join(folder, 'store')
  const options = ['--root', store, '--runroot', join(folder, 'run'), '--runtime', 'runc', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none']
  const attempt = (...args: string[]) => execute('podman', ...options, ...args)

  return {
    folder,
    /** What it came to, good or bad. */
    attempt,
    /** What it said. */
    async run (...args: string[]) {
      const { code, stdout, stderr } = await attempt(...args)
      if (code !== 0) throw new Error(`podman ${args[0]} has failed: ${stderr.slice(-2000)}`)
      return stdout.trim()
    },
    async close () {
      await attempt('rm', '--all', '--force', '--time=0', '--volumes')
      await attempt('rmi', '--all', '--force')
      await execute('umount', join(store, 'overlay'))
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** Only where nobody would mind. */
async function install () {
  const missing = NEEDED.filter((name) => !isOnPath(name))
  if (missing.length === 0) return
  const isOurs = process.env.CI === 'true' && isOnPath('apt-get')
  if (isOurs) {
    await execute('apt-get', '-qq', 'update')
    await execute('apt-get', '-qq', '--yes', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', 'install', 'buildah', 'fuse-overlayfs', ...missing)
  }
  const lacking = missing.filter((name) => !isOnPath(name))
  if (lacking.length > 0) throw new Error(`There is no ${lacking.join(', no ')}${isOurs ? ', nor can it be had from Debian\'s packages' : ''}: install ${lacking.join(', ')}`)
}

function isOnPath (name: string) {
  return `${process.env.PATH}:/usr/sbin`.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name))
      return true
    } catch {
      return false
    }
  })
}

async function execute (file: string, ...args: string[]): Promise<Outcome> {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, DEBIAN_FRONTEND: 'noninteractive' }
  try {
    return { code: 0, ...await promisify(execFile)(file, args, { env, maxBuffer: OUTPUT_BYTES, timeout: TIMEOUT_MS }) }
  } catch (error) {
    const { code, stdout = '', stderr = '', message } = error as Error & Partial<Omit<Outcome, 'code'>> & { code?: unknown }
    return { code: Number(code) || 1, stdout, stderr: stderr || message }
  }
}

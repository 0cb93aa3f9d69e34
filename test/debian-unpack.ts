import { existsSync, globSync } from 'node:fs'
import { mkdir, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative } from 'node:path'

export type Env = Record<string, string | undefined>
export type Run = (file: string, ...args: string[]) => Promise<{ stdout: string, stderr: string }>

/** Fetches these packages and what the machine lacks of those they depend on, and lays their files out in a folder. */
export async function unpack (folder: string, packages: string[], run: Run, onProgress: (progress: string) => void) {
  const state = join(folder, '.apt')
  const apt = await openApt(state, run)
  const { stderr: warning } = await apt('update')
  // Whatever else the machine has is not fetched again.
  const install = ['install', '--yes', '--no-install-recommends', '--reinstall', ...packages]
  const { stdout: list } = await apt(...install, '--print-uris').catch((error) => {
    throw new Error([warning, error.stderr].map(firstLine).filter(Boolean).join('; '), { cause: error })
  })
  const sizes = Array.from(list.matchAll(/^'[^']+' \S+ (\d+)/gm), ([, size]) => Number(size))
  const megabytes = sizes.reduce((sum, size) => sum + size, 0) / 1e6
  onProgress(`downloading ${megabytes.toFixed(1)} MB (packages: ${sizes.length})`)
  await apt(...install)
  onProgress('unpacking')
  const archives = join(state, 'cache/archives')
  for (const file of globSync('*.deb', { cwd: archives })) await run('dpkg', '-x', join(archives, file), folder)
  await rm(state, { recursive: true })
  await relink(folder)
}

/** With lists and archives of its own it needs neither root nor the lock. The hooks of the machine would tidy what is not ours. */
async function openApt (folder: string, run: Run) {
  for (const part of ['lists/partial', 'cache/archives/partial']) await mkdir(join(folder, part), { recursive: true })
  const file = join(folder, 'apt.conf')
  await writeFile(file, `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State::Lists "${folder}/lists";
Dir::Cache "${folder}/cache";
Debug::NoLocking "true";
APT::Sandbox::User "root";
APT::Get::Download-Only "true";
Acquire::Retries "3";
`)
  return (...args: string[]) => run('apt-get', '-qq', '-c', file, ...args)
}

/** What links to a file of these packages by its absolute path shall find it here. */
async function relink (folder: string) {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue
    const link = join(entry.parentPath, entry.name)
    const target = await readlink(link)
    if (!isAbsolute(target) || !existsSync(join(folder, target))) continue
    await rm(link)
    await symlink(relative(dirname(link), join(folder, target)), link)
  }
}

/** What programs need to find that folder's libraries, data and fonts. */
export function needs (folder: string, env: Env): Env {
  const libraries = new Set(globSync('**/lib*.so*', { cwd: folder }).map((file) => join(folder, dirname(file))))
  if (env.LD_LIBRARY_PATH) libraries.add(env.LD_LIBRARY_PATH)
  const fonts = join(folder, 'etc/fonts')
  return {
    ...libraries.size && { LD_LIBRARY_PATH: [...libraries].join(':') },
    XDG_DATA_DIRS: `${join(folder, 'usr/share')}:${env.XDG_DATA_DIRS || '/usr/local/share:/usr/share'}`,
    ...existsSync(fonts) && { FONTCONFIG_PATH: fonts }
  }
}

export function firstLine (text: string) {
  return text.trim().split('\n')[0]!
}

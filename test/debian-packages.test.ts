import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'tap'
import { bring } from './debian-packages.ts'
import type { Test } from 'tap'

const GREETER = { packages: ['microts-greeter'], program: 'usr/bin/greeter' }
const GREET = `IFS=:
set -- $LD_LIBRARY_PATH; library=$(cat $1/libgreeting.so.1) || exit
set -- $XDG_DATA_DIRS; echo hello $library, $(cat $1/greeting/name) and $(cat $FONTCONFIG_PATH/fonts.conf)`
const HOURS_AGO = new Date(Date.now() - 2 * 60 * 60_000)

test('a program of the PATH is taken as it is', async (t) => {
  const folder = await writeProgram(t.testdir(), 'salute', 'exit 0')
  const env = { PATH: folder }
  t.same(await bring('salute', { ...GREETER, env }), { path: join(folder, 'salute'), env: {} })
  t.same(await bring('greeter', { ...GREETER, env, aliases: ['salute'] }), { path: join(folder, 'salute'), env: {} })
})

test('it is asked for its version in its own way', async (t) => {
  const folder = await writeProgram(t.testdir(), 'greeter', 'test "$*" = -v')
  t.same(await bring('greeter', { ...GREETER, env: { PATH: folder }, versionFlag: '-v' }), { path: join(folder, 'greeter'), env: {} })
})

test('without apt one sentence says what to install', async (t) => {
  const folder = await writeProgram(t.testdir(), 'greeter', 'echo install me as a snap >&2; exit 1')
  await t.rejects(bring('greeter', { ...GREETER, env: { PATH: folder, XDG_CACHE_HOME: folder } }), {
    message: "There is no greeter on the PATH, nor can one be had from Debian's packages (there is no apt-get): install greeter"
  })
  t.same(await remnants(folder), [])
})

// Elsewhere nothing can be brought, and the sentence above is all there is.
if (existsSync('/usr/bin/dpkg-deb')) {
  test('a program of a package is unpacked once, with what it depends on', async (t) => {
    const { env, cache } = await publish(t)
    const messages: string[] = []
    const wanted = { ...GREETER, env, onProgress: (message: string) => { messages.push(message) } }
    const [first, second] = await Promise.all([bring('greeter', wanted), bring('greeter', wanted)])
    t.same(first, second)
    t.same(new Set(messages), new Set(['greeter: downloading 0.0 MB (packages: 2)', 'greeter: unpacking', `greeter: kept in ${dirname(dirname(dirname(first.path)))}`]))
    t.same(await remnants(cache), ['greeter'])

    messages.length = 0
    t.same(await bring('greeter', wanted), first)
    t.same(messages, [], 'from the cache')
    t.equal(await greet(first), 'hello library, data and fonts\n')
  })

  test('one that no longer runs is brought again, and what killed runs have left goes', async (t) => {
    const { env, cache } = await publish(t)
    const wanted = { ...GREETER, env, onProgress: () => {} }
    const { path } = await bring('greeter', wanted)
    const folder = dirname(dirname(dirname(path)))
    await rm(join(folder, 'usr/lib/greeting'), { recursive: true })
    for (const draft of ['greeter.old.tmp', 'greeter.new.tmp']) await mkdir(join(dirname(folder), draft))
    await utimes(join(dirname(folder), 'greeter.old.tmp'), HOURS_AGO, HOURS_AGO)

    t.equal(await greet(await bring('greeter', wanted)), 'hello library, data and fonts\n')
    t.same(await remnants(cache), ['greeter', 'greeter.new.tmp'])
  })

  test('what cannot be had, or does not run, is told in one sentence and not kept', async (t) => {
    const { env, cache } = await publish(t)
    const wanted = { ...GREETER, env, onProgress: () => {} }
    await t.rejects(bring('greeter', { ...wanted, packages: ['microts-absent'] }), { message: /\(E: Unable to locate package microts-absent\): install greeter$/ })
    await t.rejects(bring('greeter', { ...wanted, program: 'usr/bin/absent' }), { message: /\(there is no .+\/usr\/bin\/absent\): install greeter$/ })
    await t.rejects(bring('greeter', { ...wanted, packages: ['microts-greeting'], program: 'usr/share/greeting/broken' }), { message: /\(no greeting today\): install greeter$/ })
    await t.rejects(bring('greeter', { ...wanted, signal: AbortSignal.abort(new Error('Ctrl-C')) }), { message: 'Ctrl-C' })
    t.same(await remnants(cache), [])
  })
}

/** A repository of two packages of ours, which apt takes for the only one. */
async function publish (t: Test) {
  const folder = t.testdir()
  const greeting = join(folder, 'microts-greeting')
  await writeFiles(greeting, {
    'DEBIAN/control': control('microts-greeting', ''),
    'usr/lib/greeting/libgreeting.so.1': 'library',
    'usr/share/greeting/name': 'data',
    'usr/share/greeting/fonts.conf': 'fonts',
    'usr/share/greeting/broken': '#!/bin/sh\necho no greeting today >&2; exit 1\n'
  })
  await chmod(join(greeting, 'usr/share/greeting/broken'), 0o755)
  await mkdir(join(greeting, 'etc/fonts'), { recursive: true })
  await symlink('/usr/share/greeting/fonts.conf', join(greeting, 'etc/fonts/fonts.conf'))
  const greeter = join(folder, 'microts-greeter')
  await writeFiles(greeter, { 'DEBIAN/control': control('microts-greeter', 'Depends: microts-greeting\n') })
  await writeProgram(join(greeter, 'usr/bin'), 'greeter', GREET)

  const index = [await pack(greeting), await pack(greeter)].join('\n')
  await writeFiles(folder, {
    Packages: index,
    'sources.list': `deb [trusted=yes] copy:${folder} ./\n`,
    'apt.conf': `Dir::Etc::SourceList "${folder}/sources.list";\nDir::Etc::SourceParts "/dev/null";\n`
  })
  const cache = join(folder, 'cache')
  return { cache, env: { ...process.env, APT_CONFIG: join(folder, 'apt.conf'), XDG_CACHE_HOME: cache } }
}

async function pack (folder: string) {
  const file = `${folder}.deb`
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', folder, file])
  const content = await readFile(file)
  const sha256 = createHash('sha256').update(content).digest('hex')
  return `${await readFile(join(folder, 'DEBIAN/control'), 'utf8')}Filename: ./${basename(file)}\nSize: ${content.length}\nSHA256: ${sha256}\n`
}

function control (name: string, depends: string) {
  return `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: microts\n${depends}Description: greets\n`
}

async function writeFiles (folder: string, files: Record<string, string>) {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
}

async function writeProgram (folder: string, name: string, script: string) {
  await writeFiles(folder, { [name]: `#!/bin/sh\n${script}\n` })
  await chmod(join(folder, name), 0o755)
  return folder
}

async function greet ({ path, env }: { path: string, env: Record<string, string | undefined> }) {
  return (await promisify(execFile)(path, { env: { ...process.env, ...env } })).stdout
}

/** What is in the cache. */
async function remnants (cache: string) {
  const [release] = await readdir(join(cache, 'microts'))
  return (await readdir(join(cache, 'microts', release!))).sort()
}

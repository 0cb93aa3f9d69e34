import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import selfsigned from 'selfsigned'
import { bring } from '../../debian-packages.ts'
import { eventually } from '../../eventually.ts'
import { isOpen } from '../../port.ts'
import type { Test } from 'tap'

export type Colour = 'blue' | 'green'
export type Nginx = Awaited<ReturnType<typeof startNginx>>
/** What its access log says of a request. */
export type Line = { at: number, requestId: string, client: string, method: string, path: string, status: string, colour: string, upstream: string }
type Options = { ports: { http: number, https: number }, replicas: { blue: number[], green?: number[] }, edit?: (config: string) => string }

export const NAME = 'id.example.com'
const SOURCE = join(import.meta.dirname, '../../../deploy/tls')
const PATIENCE_MS = 30_000
const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

/** A real nginx with the files of deploy/tls, but for ports, addresses and folders; gone when the test ends. */
export async function startNginx (t: Test, { ports, replicas, edit = (config) => config }: Options) {
  const program = await bring('nginx', { packages: ['nginx'], program: 'usr/sbin/nginx', versionFlag: '-v' })
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'))
  await chmod(folder, 0o711)      // its workers are not root
  const at = (name: string) => join(folder, name)
  const args = ['-p', folder, '-c', at('nginx.conf'), '-e', at('error.log')]
  const options = { env: { ...process.env, ...program.env } }

  await writeFile(at('problems.conf'), await readFile(join(SOURCE, 'problems.conf')))
  await writeFile(at('nginx.conf'), edit(placed(await readFile(join(SOURCE, 'nginx.conf'), 'utf8'), folder, ports)))
  await writeFile(at('upstream.conf'), addressed(await readFile(join(SOURCE, 'upstream.conf'), 'utf8'), replicas))
  const certificates: string[] = []
  await certify()

  const child = spawn(program.path, [...args, '-g', 'daemon off;'], { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr.on('data', (chunk) => { complaints += chunk })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
    await rm(folder, { recursive: true })
  })
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`nginx has ended: ${complaints}`)
    return isOpen(ports.https)
  })

  return {
    origin: `https://127.0.0.1:${ports.https}`,
    plainOrigin: `http://127.0.0.1:${ports.http}`,
    folder,
    /** Those that it has, or had: whom clients trust. */
    certificates,

    /** `nginx -t`, as before every reload: what it says. */
    test: async () => (await promisify(execFile)(program.path, [...args, '-t'], options)).stderr,

    reload,

    /** Lets another colour serve: one line, a reload, and the wait for the workers that know the old one. */
    async switchTo (colour: Colour) {
      const config = await readFile(at('upstream.conf'), 'utf8')
      await writeFile(at('upstream.conf'), replaced(config, /default \w+;/, `default ${colour};`))
      const before = await workers()
      await reload()
      await eventually(async () => !(await workers()).some((worker) => before.includes(worker)), PATIENCE_MS)
    },

    /** A new certificate under the old name, from the next reload on. */
    certify,

    async lines (): Promise<Line[]> {
      const text = await readFile(at('access.log'), 'utf8')
      return text.split('\n').filter(Boolean).map((line) => JSON.parse(line)).map(({ msec, ...line }) => ({ ...line, at: Number(msec) * 1000 }))
    },

    log: async (name: 'access' | 'error') => readFile(at(`${name}.log`), 'utf8')
  }

  async function workers () {
    const text = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
    return text.trim().split(' ')
  }

  async function reload () {
    await promisify(execFile)(program.path, [...args, '-s', 'reload'], options)
  }

  async function certify () {
    // Who trusts several of one subject would not find the right one.
    const { cert, private: key } = await selfsigned.generate([{ name: 'commonName', value: `number ${certificates.length}` }], {
      keyType: 'ec',
      algorithm: 'sha256',
      extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: NAME }] }]
    })
    await writeFile(at('tls.key'), key, { mode: 0o600 })
    await writeFile(at('tls.crt'), cert)
    certificates.push(cert)
  }
}

/** The configuration as it stands, in another folder, on other ports of the loopback. */
function placed (config: string, folder: string, { http, https }: Options['ports']) {
  const paths = TEMPORARY.map((name) => `${name}_temp_path ${join(folder, name)};`).join(' ')
  const changes: [RegExp, string][] = [
    [/\/var\/log\/nginx\//g, `${folder}/`],
    [/\/run\/nginx\.pid/, join(folder, 'nginx.pid')],
    [/\/var\/www\/acme/, join(folder, 'acme')],
    [/^ *listen \[::\]:.*\n/gm, ''],
    [/listen 80;/, `listen 127.0.0.1:${http};`],
    [/listen 443 /, `listen 127.0.0.1:${https} `],
    [/http \{/, `http { ${paths}`]
  ]
  return changes.reduce((text, change) => replaced(text, ...change), config)
}

/** Each server of a colour has the address of a replica in its place; one that is not there may stay as it is. */
function addressed (config: string, { blue, green = [] }: Options['replicas']) {
  const ports = [...blue, ...green]
  return config.replace(/127\.0\.0\.1:300\d/g, (address) => ports.length > 0 ? `127.0.0.1:${ports.shift()}` : address)
}

function replaced (text: string, pattern: RegExp, replacement: string) {
  const result = text.replace(pattern, () => replacement)
  if (result === text && !text.includes(replacement)) throw new Error(`there is no ${pattern} in it any more`)
  return result
}

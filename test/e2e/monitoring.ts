import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { bring } from '../debian-packages.ts'
import { eventually } from '../eventually.ts'
import { freePort } from '../port.ts'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

type Program = Awaited<ReturnType<typeof bring>>
type Places = { microts: string, alertmanager: string, opsToken: string, people: string }
type Changes = [from: string | RegExp, to: string | ((...found: string[]) => string)][]

const START_MS = 30_000
const PATIENCE_MS = 10_000
const TEMPLATES = 'usr/share/prometheus/alertmanager'
const NOBODY = '127.0.0.1:9'
const deploy = join(import.meta.dirname, '../../deploy')

/** Prometheus and Alertmanager of this machine or of Debian's packages, and the tools that come with them. */
export async function bringMonitoring () {
  const prometheus = await bring('prometheus', { packages: ['prometheus'], program: 'usr/bin/prometheus' })
  const alertmanager = await bring('prometheus-alertmanager', {
    packages: ['prometheus-alertmanager'],
    program: 'usr/bin/prometheus-alertmanager',
    aliases: ['alertmanager']
  })
  const beside = ({ path, env }: Program, name: string) => ({ path: join(dirname(path), name), env })
  return { prometheus, alertmanager, promtool: beside(prometheus, 'promtool'), amtool: beside(alertmanager, 'amtool') }
}

/**
 * The files of deploy/ as an operator would install them, with addresses, secrets and paths of theirs, and faster: what takes minutes
 * six times, since Prometheus takes five seconds to begin to scrape, and nobody should be told of those.
 */
export async function install ({ microts, alertmanager, opsToken, people }: Places) {
  const folder = await mkdtemp(join(tmpdir(), 'monitoring-'))
  const secrets = { ops_token: opsToken, people_url: people }
  for (const [name, secret] of Object.entries(secrets)) await writeFile(join(folder, name), secret)
  await cp(join(deploy, 'prometheus'), folder, { recursive: true })
  await change(join(folder, 'prometheus.yml'), [
    ['microts:3000', new URL(microts).host], ['alertmanager:9093', alertmanager], ['blackbox:9115', NOBODY],
    ['/run/secrets', folder], ['scrape_interval: 15s', 'scrape_interval: 1s'], ['evaluation_interval: 15s', 'evaluation_interval: 1s']
  ])
  for (const rules of await readdir(join(folder, 'rules'))) await change(join(folder, 'rules', rules), [[/for: 30s/g, 'for: 2s'], [/for: (\d+)m/g, (_, minutes) => `for: ${Number(minutes) * 10}s`]])
  await cp(join(deploy, 'alertmanager/alertmanager.yml'), join(folder, 'alertmanager.yml'))
  await change(join(folder, 'alertmanager.yml'), [
    ['http://microts:3000', microts], [/\/run\/secrets/g, folder], ['group_wait: 15s', 'group_wait: 1s'], ['group_interval: 1m', 'group_interval: 5s']
  ])
  return folder
}

async function change (file: string, changes: Changes) {
  const content = await readFile(file, 'utf8')
  await writeFile(file, changes.reduce((changed, [from, to]) => changed.replace(from, to as string), content))
}

/** Runs a tool to its end, which must be a good one, and tells what it printed. */
export async function tool ({ path, env }: Program, args: string[], input = '') {
  const running = promisify(execFile)(path, args, { cwd: deploy, env: { ...process.env, ...env } })
  running.child.stdin!.end(input)
  return (await running).stdout
}

export async function startPrometheus (t: Test, program: Program, folder: string) {
  const address = await freeAddress()
  await serve(t, program, address, [
    `--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=${address}`
  ])
  return address
}

export async function startAlertmanager (t: Test, { path, env }: Program, folder: string, address: string) {
  const home = resolve(dirname(path), '../..')
  const moved = join(folder, 'alertmanager')
  await writeFile(moved, relocated(await readFile(path)), { mode: 0o755 })
  await serve(t, { path: moved, env }, address, [
    `--config.file=${join(folder, 'alertmanager.yml')}`, `--storage.path=${join(folder, 'notified')}`, `--web.listen-address=${address}`, '--cluster.listen-address='
  ], home)
}

/** Debian's Alertmanager has its templates at an absolute path: as long is the one below the folder that it is run in. */
function relocated (program: Buffer) {
  return Buffer.from(program.toString('latin1').replaceAll(`/${TEMPLATES}`, `${TEMPLATES}/`), 'latin1')
}

/** Ready, and gone when the test ends. */
async function serve (t: Test, { path, env }: Program, address: string, args: string[], cwd?: string) {
  const child = spawn(path, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } })
  const closed = once(child, 'close')
  let said = ''
  child.stderr.on('data', (chunk) => { said += chunk })
  t.teardown(async () => {
    child.kill('SIGTERM')
    const patience = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
    await closed
    clearTimeout(patience)
  })
  await eventually(() => {
    if (child.exitCode !== null) throw new Error(`it has ended: ${said.trim().split('\n').slice(-2).join('\n')}`)
    return fetch(`http://${address}/-/ready`).then(({ ok }) => ok, () => false)
  }, START_MS)
}

/** Notes what is posted to it. */
export async function startReceiver (t: Test) {
  const posted: string[] = []
  const server = createHttpServer(async (request, response) => {
    posted.push(await text(request))
    response.end('ok')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, posted }
}

/** One that was free a moment ago. */
export async function freeAddress () {
  return `127.0.0.1:${await freePort()}`
}

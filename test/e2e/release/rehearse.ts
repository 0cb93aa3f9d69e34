import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { inspect } from 'node:util'
import { test } from 'tap'
import { createDatabase } from '../../chaos/stops/database.ts'
import { startLoad } from '../../chaos/stops/load.ts'
import type { Ending } from '../../chaos/stops/server.ts'
import { freePorts } from '../../port.ts'
import { start } from '../../processes.ts'
import { startRedis } from '../../redis.ts'
import { createHttp1Client, createHttp2Client } from './clients.ts'
import { check, productionSettings, startColour } from './colour.ts'
import { startNginx, type Colour } from './nginx.ts'
import { asMarkdown, asText, createSteps, failedOf } from './steps.ts'
import { nextRelease, ROOT, runTests, versionOf } from './tree.ts'

const FOLDER = join(ROOT, '.tap')
const CLIENTS = { http2: 4, http1: 2 }
const SOME = 60
const SHUTDOWN_SECONDS = 20
const KEY_TESTS = ['test/routes/me/sessions.test.ts', 'test/plugins/sessions/refresh.test.ts', 'test/plugins/users/profile.test.ts']
const say = (text: string) => process.stderr.write(text)

test('a release and its roll-back, blue and green behind nginx, while clients go on', { timeout: 240_000 }, async (t) => {
  const [database, redis, next, ports] = await Promise.all([createDatabase(t), startRedis(t), nextRelease(t), freePorts(6)])
  const [http, https, ...replicas] = ports as [number, number, ...number[]]
  const [blue, green] = [replicas.slice(0, 2), replicas.slice(2)]
  const env = await productionSettings(t, { databaseUrl: database.url, redisUrl: redis.url })
  const [version, nextVersion] = [await versionOf(ROOT), await versionOf(next)]
  const nginx = await startNginx(t, { ports: { http, https }, replicas: { blue, green } })
  const clients = [createHttp2Client(t, nginx), createHttp1Client(t, nginx)]
  const loads: ReturnType<typeof startLoad>[] = []
  const samples = () => loads.flatMap(({ samples }) => samples)
  const flow = async () => { await Promise.all(loads.map((load) => load.flow(SOME / loads.length))) }
  const steps = createSteps(samples, say)
  const { take } = steps

  const rehearsed = await rehearse().then(() => undefined, (error: Error) => error)
  await Promise.all(loads.map((load) => load.stop()))
  const rows = steps.table()
  const again = clients.map((client) => client.again)
  say(`\n${asText(rows)}\n\n`)
  const path = join(FOLDER, 'rehearse.md')
  await mkdir(FOLDER, { recursive: true })
  await writeFile(path, `${asMarkdown(rows)}\n`)
  say(`Asked again, as HTTP says that they may: ${again[0]} over HTTP/2 that nginx had not looked at, ${again[1]} GET over HTTP/1.1\nAs Markdown: ${relative(process.cwd(), path)}\n`)

  const failed = failedOf(samples())
  if (failed.length > 0) say(`${inspect(failed.slice(0, 5))}\n`)
  t.equal(rehearsed, undefined, 'each step succeeds')
  t.same(failed.slice(0, 5), [], 'no request fails')
  t.ok(samples().length > 10 * SOME)

  async function rehearse () {
    let old!: Awaited<ReturnType<typeof startColour>>, fresh!: typeof old
    await take(`migrate to the schema of ${version}`, () => migrate(ROOT))
    await take(`start blue, ${version}, and check it`, async () => {
      old = await startColour(t, ROOT, blue, env)
      await check(t, ROOT, old.origins)
    })
    await take('let the clients come', async () => {
      loads.push(startLoad(t, nginx.origin, CLIENTS.http2, clients[0]!.ask), startLoad(t, nginx.origin, CLIENTS.http1, clients[1]!.ask))
      await flow()
    })
    await take('replace a replica of blue', async () => told([await old.replace()]))
    await take(`migrate to the schema of ${nextVersion} (expand)`, () => migrate(next))
    await take(`start green, ${nextVersion}, and check it`, async () => {
      fresh = await startColour(t, next, green, env)
      await check(t, next, fresh.origins)
    })
    await take('switch to green, and drain blue', () => change('green', old))
    await take(`green serves, ${nextVersion}`, flow)
    await take(`roll back: start blue, ${version}, on the schema of ${nextVersion}, and check it`, async () => {
      old = await startColour(t, ROOT, blue, env)
      await check(t, ROOT, old.origins)
    })
    await take('switch to blue, and drain green', () => change('blue', fresh))
    await take(`blue serves, ${version}`, flow)
    await Promise.all(loads.map((load) => load.stop()))
    await take(`tests of ${version} on the schema of ${nextVersion}`, () => runTests(next, KEY_TESTS))
  }

  async function migrate (tree: string) {
    const { code, stdout, stderr } = await start(t, join(tree, 'deploy/migrate.ts'), ['up'], { NODE_ENV: 'production', DATABASE_URL_FILE: env.DATABASE_URL_FILE }).ended
    if (code !== 0) throw new Error(stderr)
    return stdout.trim().split('\n').map((line) => line.replace(/^up +/, '')).join(', ')
  }

  async function change (colour: Colour, before: { drain: () => Promise<Ending[]> }) {
    const toldAt = Date.now()
    await nginx.switchTo(colour)
    const letGoAfter = Date.now() - toldAt
    const exits = told(await before.drain())
    const lines = (await nginx.lines()).filter(({ at, upstream }) => at > toldAt && upstream)
    const [its, others] = [lines.filter((line) => line.colour === colour), lines.filter((line) => line.colour !== colour)]
    const [first, last] = [Math.min(...its.map(({ at }) => at)) - toldAt, Math.max(toldAt, ...others.map(({ at }) => at)) - toldAt]
    return `first answer of ${colour} after ${Math.round(first)} ms, last one of the other after ${Math.round(last)} ms, old workers gone after ${letGoAfter} ms; ${exits}`
  }
})

/** What they logged on the way may be of a machine that is busy; how they end is theirs. */
function told (ends: Ending[]) {
  const exits = ends.map(({ code, seconds }) => `exit ${code} after ${seconds.toFixed(1)} s`).join(', ')
  if (!ends.every(({ code, seconds }) => code === 0 && seconds < SHUTDOWN_SECONDS)) throw new Error(exits)
  return exits
}

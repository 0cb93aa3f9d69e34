import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { performance } from 'node:perf_hooks'
import { test, type Test } from 'tap'
import { build } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { median } from '../timing/statistics.ts'
import { aloud } from './aloud.ts'
import { asMarkdown, asText } from './columns.ts'
import { pace, type Load } from './pace.ts'
import { createPopulation, type Population } from './population.ts'
import { startMs, startServer, stepAside, type Server } from './processes.ts'
import { exchange, login, me } from './requests.ts'
import { alternate } from './rounds.ts'
import { startServers, UNLIMITED } from './world.ts'

type Subject = Population & { name: string, server: Server }
type Loads = Record<string, Pick<Load, 'perSecond' | 'next' | 'onAnswer'>>

const FOLDER = join(import.meta.dirname, '../../.tap')
const MICROTS = 'server.ts'
const SIZES = (process.env.GROWTH_SIZES ?? '1000,100000,1000000').split(',').map(Number)
const ROUNDS = Number(process.env.GROWTH_ROUNDS ?? 7)
const SECONDS = Number(process.env.GROWTH_SECONDS ?? 3)
const only = new RegExp(process.env.GROWTH_ONLY ?? '', 'i')
const STARTS = 3
const ACTIVE = 1000
const MOST_GROWTH = 1.2
const RATES = { login: 20, refresh: 300, first: 300, active: 600 }
const say = (text: string) => process.stderr.write(text)
const thousands = (count: number) => count.toLocaleString('en').replaceAll(',', ' ')

test('cost as users and sessions grow', { timeout: 1_800_000 }, (t) => aloud(run(t)))

async function run (t: Test) {
  stepAside()
  const { env: settings } = await startServers(t)
  const env = { ...settings, ...UNLIMITED }
  const subjects: Subject[] = []
  const starts: { listening: number, ready: number }[] = []
  for (const size of SIZES) {
    say(`${thousands(size)} users … `)
    const began = performance.now()
    const population = await createPopulation(env, size)
    say(`${((performance.now() - began) / 1000).toFixed()} s\n`)
    starts.push(await startsOf(t, population.env))
    subjects.push({ ...population, name: thousands(size), server: await startServer(t, MICROTS, population.env) })
  }
  const sign = await createSign(subjects[0]!.env)
  const loads = await Promise.all(subjects.map((subject) => loadsOf(subject, sign)))

  const rows: { name: string, ms: number[], p99Ms: number[], growth: number, rounds: number[][] }[] = []
  for (const name of Object.keys(loads[0]!).filter((name) => only.test(name))) {
    say(`${name} `)
    const p99s = subjects.map((): number[] => [])
    const found = await alternate(name, Object.fromEntries(subjects.map(({ name: subject, server: { url } }, i) => [subject, async () => {
      const { medianMs, p99Ms } = await pace({ url, seconds: SECONDS, ...loads[i]![name]! })
      p99s[i]!.push(p99Ms)
      return { ms: medianMs }
    }])), { rounds: ROUNDS, onRound: () => say('.') })
    const ms = found.map(({ value }) => value)
    const growth = growthOf(found[0]!.samples, found.at(-1)!.samples)
    say(` ${ms.map((value) => value.toFixed(2)).join(', ')} ms: × ${growth.toFixed(2)}\n`)
    rows.push({ name, ms, p99Ms: p99s.map(([, ...measured]) => median(measured)), growth, rounds: found.map(({ samples }) => samples) })
  }
  const memoryMb = subjects.map(({ server }) => server.memoryMb())

  const head = ['users, each with a session', ...subjects.map(({ name }) => name), 'last / first']
  const cells = [
    ...rows.flatMap(({ name, ms, p99Ms, growth }) => [
      [`${name}: median, ms`, ...ms.map((value) => value.toFixed(2)), growth.toFixed(2)],
      [`${name}: p99, ms`, ...p99Ms.map((value) => value.toFixed(1)), '']
    ]),
    ['process start to listening, ms', ...starts.map(({ listening }) => listening.toFixed()), ''],
    ['process start to ready, ms', ...starts.map(({ ready }) => ready.toFixed()), ''],
    ['RSS after the load, MB', ...memoryMb.map((mb) => mb.toFixed()), '']
  ]
  const path = join(FOLDER, 'growth.md')
  await mkdir(FOLDER, { recursive: true })
  await writeFile(path, `${asMarkdown(head, cells)}\n`)
  await writeFile(join(FOLDER, 'growth.json'), `${JSON.stringify({ sizes: SIZES, rows, starts, memoryMb }, null, 2)}\n`)
  const verdict = rows.every(({ growth }) => growth <= MOST_GROWTH) ? 'kept' : 'BROKEN'
  say(`\n${asText(head, cells)}\n\n${verdict}: medians grow to ${MOST_GROWTH} times at most\n\nAs Markdown: ${relative(process.cwd(), path)}\n`)
  for (const { name, growth } of rows) t.ok(growth <= MOST_GROWTH, `${name}: × ${growth.toFixed(2)}, at most × ${MOST_GROWTH}`)
}

/** What many take against few, in the median of the rounds: what slows the machine for one of them slows both. */
const growthOf = (few: number[], many: number[]) => median(many.map((ms, round) => ms / few[round]!))

/** Medians of some starts, ms. */
async function startsOf (t: Test, env: Population['env']) {
  const listening: number[] = []
  const ready: number[] = []
  for (let i = 0; i < STARTS; i++) {
    listening.push(await startMs(t, MICROTS, env))
    const startedAt = performance.now()
    const server = await startServer(t, MICROTS, env)
    ready.push(performance.now() - startedAt)
    await server.stop()
  }
  return { listening: median(listening), ready: median(ready) }
}

/** Signs access tokens as the service does. */
async function createSign (env: Population['env']) {
  const app = await build(loadConfig({ ...env, LOG_LEVEL: 'fatal' }))
  await app.ready()
  await app.close()
  return app.tokens.sign
}

/** The same requests at the same pace, however many users there are; whose they are, chance decides. */
async function loadsOf ({ anyEmail, anySessions }: Population, sign: Awaited<ReturnType<typeof createSign>>): Promise<Loads> {
  const sessions = await anySessions((ROUNDS + 1) * SECONDS * RATES.refresh)
  const signed = ({ owner }: typeof sessions[number]) => sign(owner, Infinity).accessToken
  const active = sessions.slice(0, ACTIVE).map(signed)
  let asked = 0
  return {
    'POST /auth/login': { perSecond: RATES.login, next: () => login(anyEmail()) },
    'POST /auth/refresh': { perSecond: RATES.refresh, ...exchange(sessions.map(({ refreshToken }) => refreshToken)) },
    'GET /me with a new token': { perSecond: RATES.first, next: () => me(signed(sessions[asked++ % sessions.length]!)) },
    [`GET /me by ${thousands(ACTIVE)} active users`]: { perSecond: RATES.active, next: () => me(active[Math.floor(Math.random() * active.length)]!) }
  }
}

import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { test, type Test } from 'tap'
import { PASSWORD } from '../helper.ts'
import { aloud } from './aloud.ts'
import { buildArgon2 } from './argon2-build.ts'
import { pace } from './pace.ts'
import { CORE_COUNT, isPinned, machine, measure, startGenerator, startMs, startServer, stepAside, type Server } from './processes.ts'
import { alternate, type Figure, type Subjects } from './rounds.ts'
import { watchStolen } from './stolen.ts'
import { asMarkdown, asText, type Target } from './table.ts'
import { createWorld, emailOf, UNLIMITED, USERS } from './world.ts'
import type { Plan, Request } from './generator.ts'

const FOLDER = join(import.meta.dirname, '../../.tap')
const MICROTS = 'server.ts'
const BARE = 'test/bench/floors/bare.ts'
const VERIFY = 'test/bench/floors/verify.ts'
const rounds = Number(process.env.BENCH_ROUNDS ?? 5)
const seconds = Number(process.env.BENCH_SECONDS ?? 3)
const only = new RegExp(process.env.BENCH_ONLY ?? '', 'i')

const CONNECTIONS = 20
// Enough that none of the hashes waits for a login that is in PostgreSQL.
const LOGINS = 4 * CORE_COUNT
// A hundred logins a second are so few that V8, which optimises what has run 400 times, and again after 3000, is late with them.
const WARM_UP = 12
// So few that their tokens and profiles are in memory for nearly every request, on a slow machine as on a quick one.
const READERS = 200
// More, and ratios tell of the neighbours.
const MOST_STOLEN = 0.05
const PROBES_PER_SECOND = 200
// Far more than can be hashed: no core is idle, and whoever would wait for too long is refused.
const STORM = { connections: 50, perSecond: 1000 }
const REFUSED = '503'
const JSON_BODY = { 'content-type': 'application/json' }
const say = (text: string) => process.stderr.write(text)

const health: Request[] = [{ path: '/health' }]
const login: Request[] = Array.from({ length: USERS }, (_, i) => ({ method: 'POST', path: '/auth/login', headers: JSON_BODY, body: JSON.stringify({ email: emailOf(i), password: PASSWORD }) }))

test('speed against the bare framework and the floor of each request', { timeout: 3_000_000 }, (t) => aloud(run(t)))

async function run (t: Test) {
  say(`${machine()}\n`)
  stepAside()
  const { env: settings, redisUrl, accessTokens, refreshTokens } = await createWorld(t)
  // A session is refreshed, and a user asks, as often as a thousand would; the user's window is so short that no more is remembered of him than of those.
  const env = { ...settings, RATE_LIMIT_REFRESH_MAX: '1000', RATE_LIMIT_USER_MAX: '1000000', RATE_LIMIT_WINDOW: '1' }
  const { NODE_COMPILE_CACHE, NODE_OPTIONS, MALLOC_ARENA_MAX, GLIBC_TUNABLES } = env
  const asBare = { NODE_COMPILE_CACHE, NODE_OPTIONS, MALLOC_ARENA_MAX, GLIBC_TUNABLES }
  const withRedis = { ...env, REDIS_URL: redisUrl }
  const generate = startGenerator(t)
  const figures: Figure[] = []
  const me = accessTokens.slice(0, READERS).map((token) => ({ path: '/me', headers: { authorization: `Bearer ${token}` } }))
  const oneRefresh: Request[] = [{ method: 'POST', path: '/auth/refresh', headers: JSON_BODY, body: JSON.stringify({ refreshToken: refreshTokens[0] }) }]
  let waiting = refreshTokens

  const bare = await startServer(t, BARE, asBare)
  const alone = await startServer(t, MICROTS, env)
  const verify = await startServer(t, VERIFY, withRedis)
  const joined = await startServer(t, MICROTS, withRedis)

  await row('GET /health', {
    'bare Fastify': () => ask(bare, { requests: health, isAwake: true }),
    microts: () => ask(alone, { requests: health, isAwake: true })
  })
  await row('GET /me', {
    'bare Fastify': () => ask(bare, { requests: me }),
    'Fastify, token, one Redis round trip': () => ask(verify, { requests: me }),
    microts: () => ask(alone, { requests: me }),
    'microts with Redis': () => ask(joined, { requests: me })
  })
  await row('POST /auth/refresh', {
    'bare Fastify': () => ask(bare, { requests: oneRefresh }),
    'one row updated through pg': async () => ({ perSecond: await measure(t, 'update.ts', [CONNECTIONS, seconds], env) }),
    microts: () => refresh(alone),
    'microts with Redis': () => refresh(joined)
  })
  const memory = [alone, joined].map((server) => server.memoryMb())
  for (const server of [bare, alone, verify, joined]) await server.stop()
  if (only.test('memory')) figures.push(...['microts', 'microts with Redis'].map((subject, i) => ({ row: 'memory after that load', subject, value: memory[i]!, unit: ' MB' as const, samples: [memory[i]!] })))

  await row('process start to listening', {
    'bare Fastify': async () => ({ ms: await startMs(t, BARE, asBare) }),
    microts: async () => ({ ms: await startMs(t, MICROTS, env) })
  })

  const generic = await startServer(t, MICROTS, { ...env, ...UNLIMITED }, 'any')
  const native = await buildArgon2(t).catch(cannotCompile)
  const compiled = native ? await startServer(t, MICROTS, { ...env, ...UNLIMITED, ...native }, 'any') : undefined
  const hashes = (build: object = {}) => measure(t, 'hash.ts', [CORE_COUNT, seconds], { ...env, ...build, UV_THREADPOOL_SIZE: String(CORE_COUNT + 1) }, 'any')
  const logins = { requests: login, connections: LOGINS }
  await row('POST /auth/login', {
    'raw argon2, npm': async () => ({ perSecond: await hashes() }),
    'microts, npm': () => ask(generic, logins),
    ...compiled && {
      'raw argon2, built for the CPU': async () => ({ perSecond: await hashes(native!) }),
      'microts, built for the CPU': () => ask(compiled, logins)
    }
  }, async () => {
    for (const server of [generic, compiled]) if (server) await ask(server, { ...logins, seconds: WARM_UP * seconds })
  })
  await row('GET /health, 99 of 100 within', {
    idle: probed,
    'in a storm of logins': async () => {
      const storm = { requests: login, seconds: seconds + 1, mayRefuse: true, ...STORM }
      const [sample] = await Promise.all([probed(), ask(generic, storm)])
      return sample
    }
  })

  await report(figures)

  /** Load on a server, all of which must be answered well, and what it takes of its core. */
  async function ask (server: Server, { connections = CONNECTIONS, mayRefuse = false, ...plan }: Partial<Plan> & { mayRefuse?: boolean }) {
    const before = server.cpuSeconds()
    const outcome = await generate({ url: server.url, connections, seconds, ...plan })
    const failed = Object.keys(outcome.statuses).filter((status) => !status.startsWith('2') && !(mayRefuse && status === REFUSED))
    if (failed.length > 0 || outcome.errors > 0 || !outcome.statuses['200']) throw new Error(`not all are answered well: ${JSON.stringify(outcome.statuses)}, ${outcome.errors} errors`)
    const cpu = server.cpuSeconds() - before
    return { ...outcome, cpuMicros: cpu / outcome.perSecond / seconds * 1e6 }
  }

  async function refresh (server: Server) {
    const outcome = await ask(server, { refreshTokens: waiting })
    waiting = outcome.refreshTokens
    return outcome
  }

  async function probed () {
    const { p99Ms } = await pace({ url: generic.url, perSecond: PROBES_PER_SECOND, seconds, next: () => health[0]! })
    return { ms: p99Ms }
  }

  async function row (name: string, subjects: Subjects, warmUp?: () => Promise<void>) {
    if (!only.test(name)) return
    say(`${name} `)
    await warmUp?.()
    const stolenShare = watchStolen()
    const measured = await alternate(name, subjects, { rounds, onRound: () => say('.') })
    const stolen = stolenShare()
    figures.push(...measured.map((figure) => ({ ...figure, stolen })))
    say(stolen > MOST_STOLEN ? ` other machines took ${Math.round(stolen * 100)} % of the CPU: measure again when they do not\n` : '\n')
  }
}

const HEALTH = 'GET /health'
const ME = 'GET /me'
const REFRESH = 'POST /auth/refresh'
const LOGIN = 'POST /auth/login'
const TARGETS: Target[] = [
  { what: '/health of bare Fastify', of: [HEALTH, 'microts'], by: [HEALTH, 'bare Fastify'], least: 0.7 },
  { what: '/me of bare Fastify', of: [ME, 'microts'], by: [ME, 'bare Fastify'], least: 0.45 },
  { what: '/me with Redis of bare Fastify', of: [ME, 'microts with Redis'], by: [ME, 'bare Fastify'], least: 0.3 },
  { what: '/me with Redis of its floor', of: [ME, 'microts with Redis'], by: [ME, 'Fastify, token, one Redis round trip'] },
  { what: '/auth/refresh of one row updated', of: [REFRESH, 'microts'], by: [REFRESH, 'one row updated through pg'], least: 0.55 },
  { what: '/auth/refresh with Redis of one row updated', of: [REFRESH, 'microts with Redis'], by: [REFRESH, 'one row updated through pg'] },
  { what: '/auth/login of raw argon2, npm', of: [LOGIN, 'microts, npm'], by: [LOGIN, 'raw argon2, npm'], least: 0.9 },
  { what: '/auth/login of raw argon2, built for the CPU', of: [LOGIN, 'microts, built for the CPU'], by: [LOGIN, 'raw argon2, built for the CPU'], least: 0.9 },
  { what: '/auth/login, built for the CPU, of that of npm', of: [LOGIN, 'microts, built for the CPU'], by: [LOGIN, 'microts, npm'], least: 1.8 },
  { what: '/health in a storm of logins, of idle', of: ['GET /health, 99 of 100 within', 'in a storm of logins'], by: ['GET /health, 99 of 100 within', 'idle'], most: 4 },
  { what: 'start of bare Fastify', of: ['process start to listening', 'microts'], by: ['process start to listening', 'bare Fastify'], most: 2 },
  { what: 'memory', of: ['memory after that load', 'microts'], most: 160 },
  { what: 'memory with Redis', of: ['memory after that load', 'microts with Redis'], most: 160 }
]

function cannotCompile ({ message }: Error) {
  say(`argon2 cannot be compiled here: ${message.slice(0, 200)}\n`)
  return undefined
}

async function report (figures: Figure[]) {
  const text = asText(figures, TARGETS)
  await mkdir(FOLDER, { recursive: true })
  await writeFile(join(FOLDER, 'bench.md'), `${machine()}\n\n${asMarkdown(figures, TARGETS)}\n`)
  await writeFile(join(FOLDER, 'bench.json'), `${JSON.stringify({ machine: machine(), isPinned, rounds, seconds, figures }, null, 2)}\n`)
  say(`\n${text}\n\nAs Markdown and JSON: ${relative(process.cwd(), join(FOLDER, 'bench.{md,json}'))}\n`)
}

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { eventually } from './eventually.ts'
import { PASSWORD, UNHURRIED, settings } from './helper.ts'
import { listening, preload, run, signalTwice, start, WITH_OWN_STATE } from './processes.ts'
import type { Test } from 'tap'

const SERVER = 'server.ts'
const IN_A_TERMINAL = preload('process.stdout.isTTY = true')
const ACCOUNT = { email: 'embedded@example.com', password: PASSWORD }

test('without a database it brings its database, keeps what is in it, and takes it along when it ends', async (t) => {
  const state = await folder(t)
  const env = { ...UNHURRIED, XDG_STATE_HOME: state, PORT: '0' }
  const first = start(t, SERVER, [], env, [...WITH_OWN_STATE, ...IN_A_TERMINAL])
  await eventually(() => first.stdout.includes('  try '), 60_000)
  t.match(first.stdout, /creating a PostgreSQL database in .* …\n/)
  t.match(first.stdout, /INFO.*: listening on http/, 'for eyes, in a terminal')
  t.match(await post(`${await listening(first)}/auth/register`), { status: 201 })
  first.child.kill('SIGINT')
  t.match(await first.ended, { code: 0, signal: null })
  isStopped(t, state)

  const second = start(t, SERVER, [], env, WITH_OWN_STATE)
  const url = await listening(second)
  await eventually(async () => (await fetch(`${url}/ready`)).ok)
  t.match(await post(`${url}/auth/login`), { status: 200 })
  await signalTwice(second, 'SIGTERM')
  t.match(await second.ended, { code: 0, signal: null })
  isStopped(t, state)
})

test('a start that fails leaves no database behind', async (t) => {
  const state = await folder(t)
  const url = await listening(start(t, SERVER, [], { ...settings, LOG_LEVEL: 'info', PORT: '0' }))
  const { code, stderr } = await run(t, SERVER, [], { XDG_STATE_HOME: state, PORT: new URL(url).port }, WITH_OWN_STATE)
  t.equal(code, 1)
  t.match(stderr, /^listen EADDRINUSE.*\n$/, 'one sentence')
  isStopped(t, state)
})

for (const [what, signal, outcome] of [
  ['Ctrl-C', 'SIGINT', { code: 0, signal: null, stderr: '' }],
  ['an exception that nobody caught', 'SIGWINCH', { code: 1, signal: null, stderr: /^Error: nobody caught this\n {4}at / }],
  ['a rejection without a reason', 'SIGURG', { code: 1, signal: null, stderr: /^stopping because of an error nobody caught\n$/ }]
] as const) {
  test(`${what} while the database is starting leaves none behind`, async (t) => {
    const state = await folder(t)
    const failing = preload(`
      process.on('SIGWINCH', () => { throw new Error('nobody caught this') })
      process.on('SIGURG', () => { Promise.reject() })`)
    const server = start(t, SERVER, [], { XDG_STATE_HOME: state, PORT: '0' }, [...WITH_OWN_STATE, ...failing])
    await once(server.child.stdout, 'data')
    t.match(server.stdout, /^creating a PostgreSQL database/)
    server.child.kill(signal)
    t.match(await server.ended, outcome)
    isStopped(t, state)
  })
}

test('a database that cannot be started is one sentence', async (t) => {
  const state = join(await folder(t), 'a file')
  await writeFile(state, '')
  const { code, stderr } = await run(t, SERVER, [], { ...settings, DATABASE_URL: undefined, XDG_STATE_HOME: state }, WITH_OWN_STATE)
  t.equal(code, 1)
  t.match(stderr, /^No embedded PostgreSQL in .*\(set DATABASE_URL .*\n$/)
})

test('what nobody foresaw comes with its stack', async (t) => {
  const broken = preload("Object.defineProperty(process.stdout, 'isTTY', { get () { throw new TypeError('unforeseen') } })")
  const { code, stderr } = await run(t, SERVER, [], settings, broken)
  t.equal(code, 1)
  t.match(stderr, /^TypeError: unforeseen\n {4}at .*server\.ts/s)
})

async function folder (t: Test) {
  const path = await mkdtemp(join(tmpdir(), 'server-'))
  await chmod(path, 0o711)
  t.teardown(() => rm(path, { recursive: true, maxRetries: 10 }))
  return path
}

function isStopped (t: Test, state: string) {
  t.notOk(existsSync(join(state, 'microts', 'data', 'postmaster.pid')), 'the database has stopped')
}

async function post (url: string) {
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(ACCOUNT) })
  return { status: answer.status, body: await answer.text() }
}

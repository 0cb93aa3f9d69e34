import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { bearer, build, logIn, PASSWORD, post, settings, signUp, sql } from '../helper.ts'
import { run, start } from '../processes.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

type Pair = { accessToken: string, refreshToken: string }

const USERS = 'deploy/users.ts'
const BOUND_MS = 1000
const NEW_PASSWORD = 'another battery staple'

const users = (t: Test, ...args: string[]) => run(t, USERS, args, settings)
const login = async (app: FastifyInstance, email: string, password = PASSWORD) => (await post(app, '/auth/login', { email, password })).statusCode
// It would tell an account that is gone of no sessions, unless its token is refused.
const me = async (app: FastifyInstance, { accessToken }: Pair) => (await app.inject({ url: '/me/sessions', headers: bearer(accessToken) })).statusCode
const refresh = async (app: FastifyInstance, { refreshToken }: Pair) => (await post(app, '/auth/refresh', { refreshToken })).statusCode

/** Runs the command with what comes through a pipe. */
async function piped (t: Test, args: string[], input: string | Buffer) {
  const { child, ended } = start(t, USERS, args, settings)
  child.stdin.end(input)
  return ended
}

/** No replica lets these tokens in any more, a second after the command at the latest. */
async function areDead (t: Test, replicas: FastifyInstance[], pairs: Pair[]) {
  const all = replicas.flatMap((replica) => pairs.map((pair) => [replica, pair] as const))
  const tookMs = await Promise.all(all.map(([replica, pair]) => eventually(async () => await me(replica, pair) === 401, BOUND_MS)))
  t.comment(`refused everywhere after ${Math.max(...tookMs)} ms`)
  for (const [replica, pair] of all) t.equal(await refresh(replica, pair), 401)
}

test('what is done to an account holds on every replica within a second', async (t) => {
  const replicas = [await build(t), await build(t)]
  const [a, b] = replicas as [FastifyInstance, FastifyInstance]

  await t.test('disable ends all sessions and refuses logins; enable lets the account log in again, and its old sessions stay dead', async (t) => {
    const { email, user, ...first } = await signUp(a)
    const other = await signUp(b)
    const pairs = [first, await logIn(b, email)]
    for (const pair of pairs) t.equal(await me(b, pair), 200)

    t.match(await users(t, 'disable', ` ${email.toUpperCase()} `), { code: 0, stdout: `${email} is disabled, and its sessions have ended\n`, stderr: '' })
    await areDead(t, replicas, pairs)
    for (const replica of replicas) t.equal(await login(replica, email), 401)
    t.match(await users(t, 'show', email), { code: 0, stdout: /^disabled {5}since \d{4}-\d\d-\d\dT[\d:.]+Z$/m })
    const [since] = await sql('select disabled_at from users where id = $1', [user.id])
    t.match(await users(t, 'disable', email), { code: 0 })
    t.same(await sql('select disabled_at from users where id = $1', [user.id]), [since], 'since the first time')

    t.match(await users(t, 'enable', email), { code: 0, stdout: `${email} may log in again\n`, stderr: '' })
    for (const replica of replicas) t.equal(await login(replica, email), 200)
    for (const pair of pairs) t.same([await me(a, pair), await refresh(b, pair)], [401, 401])
    t.same([await me(a, other), await refresh(b, other)], [200, 200], 'nobody else is touched')
  })

  await t.test('revoke ends all sessions, and logins go on', async (t) => {
    const { email, ...first } = await signUp(a)
    const pairs = [first, await logIn(b, email)]

    t.match(await users(t, 'revoke', email), { code: 0, stdout: `the sessions of ${email} have ended\n`, stderr: '' })
    await areDead(t, replicas, pairs)
    t.equal(await login(b, email), 200)
  })

  await t.test('delete takes the account and all that belongs to it, and needs --yes without a terminal', async (t) => {
    const { email, user, ...pair } = await signUp(a)
    t.match(await users(t, 'delete', email), { code: 1, stdout: '', stderr: 'Without a terminal, delete needs --yes\n' })
    t.equal(await me(a, pair), 200)

    t.match(await users(t, 'delete', email, '--yes'), { code: 0, stdout: `${email} is deleted\n`, stderr: '' })
    await areDead(t, replicas, [pair])
    t.equal(await login(a, email), 401)
    for (const [table, column] of [['users', 'id'], ['sessions', 'user_id']]) t.same(await sql(`select from ${table} where ${column} = $1`, [user.id]), [])
    t.match(await users(t, 'delete', email, '-y'), { code: 1, stderr: `There is no account of ${email}\n` })
    t.equal((await signUp(a, email)).email, email, 'the address is free again')
  })

  await t.test('set-password takes the first line of a pipe, by the rules of the service, and ends all sessions', async (t) => {
    const { email, ...pair } = await signUp(a)
    const refused: [input: string | Buffer, sentence: RegExp][] = [
      ['', /^The password needs 8 characters or more\n$/], [`${NEW_PASSWORD}\0\n`, /^The password holds a NUL\n$/], [Buffer.from('caf\xe9 au lait', 'latin1'), /^[^\n]*utf-8[^\n]*\n$/i]
    ]
    for (const [input, sentence] of refused) t.match(await piped(t, ['set-password', email], input), { code: 1, stdout: '', stderr: sentence }, JSON.stringify(input))
    t.equal(await me(b, pair), 200)

    t.match(await piped(t, ['set-password', email], `${NEW_PASSWORD}\r\nanother line`), { code: 0, stdout: `${email} has the new password, and its sessions have ended\n`, stderr: '' })
    await areDead(t, replicas, [pair])
    t.same([await login(a, email), await login(b, email, NEW_PASSWORD)], [401, 200])
  })
})

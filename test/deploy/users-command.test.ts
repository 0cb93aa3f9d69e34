import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { bearer, build, databaseUrl, emptyDatabase, PASSWORD, post, settings, signUp, sql } from '../helper.ts'
import { listening, run, start, WITH_OWN_STATE } from '../processes.ts'
import type { Test } from 'tap'

const USERS = 'deploy/users.ts'
const users = (t: Test, ...args: string[]) => run(t, USERS, args, settings)

test('show tells who it is and which sessions are alive, and no secret', async (t) => {
  const app = await build(t)
  const { email, user, headers } = await signUp(app)
  await post(app, '/auth/login', { email, password: PASSWORD }, { 'user-agent': 'Browser/1.0' })
  await app.inject({ method: 'POST', url: '/auth/logout', headers })
  await sql("update users set display_name = E'Eve \\x1b[2J\u202e' where id = $1", [user.id])
  const [session] = await app.sessions.list(user.id)

  const { code, stdout, stderr } = await users(t, 'show', email)
  t.same([code, stderr], [0, ''])
  t.same(stdout.split('\n'), [
    `id           ${user.id}`, `email        ${email}`, 'displayName  Eve \ufffd[2J\ufffd', `created      ${user.createdAt}`, `updated      ${user.updatedAt}`, 'disabled     -', 'sessions     1',
    `  ${session?.id}  created ${session?.createdAt}  last seen ${session?.lastSeenAt}  127.0.0.1  Browser/1.0`, ''
  ])
  const json = JSON.parse((await users(t, 'show', email, '--json')).stdout)
  t.same(json, { ...user, displayName: 'Eve \x1b[2J\u202e', disabledAt: null, sessions: [session] })
})

test('what cannot be done is one sentence, and changes nothing', async (t) => {
  await build(t)
  t.match(await users(t, 'disable', 'nobody@example.com'), { code: 1, stdout: '', stderr: 'There is no account of nobody@example.com\n' })
  t.match(await users(t, 'show', 'nobody'), { code: 1, stdout: '', stderr: 'That is no e-mail address\n' })
})

test('a database that cannot be used is one sentence, and settings that cannot are listed', async (t) => {
  const changed = (change: Partial<URL>) => Object.assign(new URL(databaseUrl), change).href
  const table: [env: object, sentence: RegExp][] = [
    [{ DATABASE_URL: 'postgres://app:canary@127.0.0.1:9/x' }, /^The database cannot be reached: ECONNREFUSED\n$/],
    [{ DATABASE_URL: changed({ password: 'canary' }) }, /^The database cannot be reached: password authentication failed for user "\w+"\n$/],
    [{ NODE_ENV: 'production', DATABASE_URL: '', OPS_TOKEN: 'canary' }, /^The settings are not usable:\n( {2}- [A-Z_ ]+[^\n]*\n)+$/]
  ]
  for (const [env, sentence] of table) {
    const { code, stdout, stderr } = await run(t, USERS, ['show', 'ada@example.com'], { ...settings, ...env })
    t.match([code, stdout, stderr], [1, '', sentence])
    t.notMatch(stderr, 'canary')
  }
})

test('an empty database is as empty after it as before', async (t) => {
  await emptyDatabase()
  t.match(await users(t, 'show', 'ada@example.com'), { code: 1, stdout: '', stderr: 'The database is not migrated: npm run migrate -- up\n' })
  t.same(await sql("select relname from pg_class where relnamespace = 'public'::regnamespace"), [])
})

test('without DATABASE_URL it joins the database that npm start brings, or starts it for as long as it needs it', async (t) => {
  const state = await mkdtemp(join(tmpdir(), 'users-'))
  t.teardown(() => rm(state, { recursive: true, maxRetries: 10 }))
  await chmod(state, 0o711)
  const env = { XDG_STATE_HOME: state, PORT: '0' }
  const show = async () => run(t, USERS, ['show', 'ada@example.com', '--json'], env, WITH_OWN_STATE)
  const server = start(t, 'server.ts', [], env, WITH_OWN_STATE)
  await eventually(() => server.stdout.includes('  try '), 60_000)
  const url = await listening(server)
  const body = JSON.stringify({ email: 'ada@example.com', password: PASSWORD })
  const answer = await fetch(`${url}/auth/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  const { user, accessToken } = await answer.json() as { user: { id: string }, accessToken: string }

  t.match(JSON.parse((await show()).stdout), { ...user, sessions: [{ ip: '127.0.0.1' }] })
  t.match(await run(t, USERS, ['revoke', 'ada@example.com'], env, WITH_OWN_STATE), { code: 0, stderr: '' })
  await eventually(async () => (await fetch(`${url}/me`, { headers: bearer(accessToken) })).status === 401)
  server.child.kill('SIGTERM')
  t.match(await server.ended, { code: 0 })

  t.match(JSON.parse((await show()).stdout), { ...user, sessions: [] })
  t.notOk(existsSync(join(state, 'microts', 'data', 'postmaster.pid')), 'the database has stopped')
})

test('help is an answer, a wrong usage is an error', async (t) => {
  const usage = /^Usage: npm run users -- show \| disable \| enable \| revoke \| set-password \| delete EMAIL/
  t.match(await users(t, 'delete', '-h'), { code: 0, stdout: usage, stderr: '' })
  t.match(await users(t, 'disable', 'a@b.example', '--json'), { code: 2, stdout: '', stderr: usage })
})

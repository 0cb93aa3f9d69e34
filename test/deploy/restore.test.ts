import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'tap'
import { build, databaseUrl, logIn, PASSWORD, post, signUp, sql } from '../helper.ts'
import { isProblem } from '../problem.ts'
import type { Test } from 'tap'

const ROOT = join(import.meta.dirname, '../..')
const [section = ''] = /^## Back up and restore\n.*?^## /ms.exec(readFileSync(join(ROOT, 'deploy/PLAYBOOK.md'), 'utf8')) ?? []
const LINES = Array.from(section.matchAll(/^```sh\n(.*?)^```$/gms), ([, lines]) => lines).join('')
const PROGRAMS = ['pg_dump', 'pg_restore', 'psql']

test('after what the playbook does to a restored database no session of before lives, people log in anew, and no password was to be seen', async (t) => {
  const app = await build(t)
  const { email, refreshToken } = await signUp(app)
  const { headers } = await logIn(app, email)
  await app.inject({ method: 'POST', url: '/auth/logout', headers })
  const { commandLines, stdout } = await restore(t)

  for (const name of PROGRAMS) t.match(commandLines, new RegExp(`^${name} .*postgres://\\w+@127`, 'm'), name)
  t.notMatch(commandLines, /p%|:[^/ ]*@/, 'a password would be for everybody to see')
  t.match(stdout, /nothing to do\n$/, 'it is migrated')
  isProblem(t, await post(app, '/auth/refresh', { refreshToken }), 401, 'INVALID_REFRESH_TOKEN')
  t.same(await sql('select from revocations'), [], 'a row for each session would be more than replicas can remember')
  const { headers: anew } = await logIn(app, email, PASSWORD)
  const list = await app.inject({ url: '/me/sessions', headers: anew })
  t.match(list.json().sessions, { length: 1 })
})

/** The lines of the playbook, as one pastes them where the secrets are files, with a password that a URL has to encode. */
async function restore (t: Test) {
  const role = `operator_${randomBytes(4).toString('hex')}`
  const password = 'p%/:@ é"$x'
  await sql(`create role ${role} superuser login password '${password}'`)
  t.teardown(() => sql(`drop role ${role}`))
  const url = Object.assign(new URL(databaseUrl), { username: role, password: encodeURIComponent(password) }).href

  const client = `#!/bin/sh\nexec node ${join(import.meta.dirname, 'postgres-client.ts')} "\${0##*/}" "$@"\n`
  const folder = t.testdir({
    'database-url': url,
    'new-database-url': url,
    bin: Object.fromEntries(PROGRAMS.map((name) => [name, client])),
    deploy: t.fixture('symlink', join(ROOT, 'deploy'))
  })
  for (const name of PROGRAMS) chmodSync(join(folder, 'bin', name), 0o755)
  const COMMAND_LINES = join(folder, 'command-lines')
  const PATH = [join(folder, 'bin'), dirname(process.execPath), process.env.PATH].join(delimiter)
  const env = { PATH, COMMAND_LINES, NODE_ENV: 'production', DATABASE_URL_FILE: join(folder, 'database-url') }
  const { stdout } = await promisify(execFile)('sh', ['-euc', LINES], { cwd: folder, env })
  return { stdout, commandLines: readFileSync(COMMAND_LINES, 'utf8') }
}

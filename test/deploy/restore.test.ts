import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { build, logIn, PASSWORD, post, signUp, sql } from '../helper.ts'
import { isProblem } from '../problem.ts'

const [, SQL = ''] = /<<'SQL'\n(.*?)\nSQL\n/s.exec(readFileSync(join(import.meta.dirname, '../../deploy/PLAYBOOK.md'), 'utf8')) ?? []

test('after what the playbook does to a restored database no session of before lives, and people log in anew', async (t) => {
  const app = await build(t)
  const { email, refreshToken } = await signUp(app)
  const { headers } = await logIn(app, email)
  await app.inject({ method: 'POST', url: '/auth/logout', headers })
  await sql(SQL)

  isProblem(t, await post(app, '/auth/refresh', { refreshToken }), 401, 'INVALID_REFRESH_TOKEN')
  t.same(await sql('select from revocations'), [], 'a row for each session would be more than replicas can remember')
  const { headers: anew } = await logIn(app, email, PASSWORD)
  const list = await app.inject({ url: '/me/sessions', headers: anew })
  t.match(list.json().sessions, { length: 1 })
})

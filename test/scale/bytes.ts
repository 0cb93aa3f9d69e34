import { test } from 'tap'
import { build, PASSWORD, signUp, sql } from '../helper.ts'
import { insertRevocations, insertSessions, insertUsers, USER_AGENTS } from './rows.ts'
import { table } from './table.ts'

const ROWS = 100_000
const USERS = 20_000
const REFRESHES = 3

test('what a row takes in PostgreSQL', async (t) => {
  const app = await build(t)
  const { user, email } = await signUp(app)
  await app.inject({ method: 'POST', url: '/auth/login', payload: { email, password: PASSWORD }, headers: { 'user-agent': USER_AGENTS[0] }, remoteAddress: '198.51.100.7' })
  const [written] = await sql<{ bytes: number }>('select pg_column_size(s.*) as bytes from sessions s where user_id = $1 and user_agent = $2', [user.id, USER_AGENTS[0]])
  await app.close()
  await sql('truncate users, sessions, revocations')

  await insertUsers(USERS)
  await insertSessions(ROWS / USERS)
  await insertRevocations(ROWS)
  const alike = await sql('select distinct pg_column_size(s.*) as bytes from sessions s where user_agent = $1 and family(ip) = 4', [USER_AGENTS[0]])
  t.same(alike, [written], 'the rows are like those that the service writes')
  const opened = await bytesOf('sessions')
  await refreshAll()
  table(t, ['bytes', 'row', 'indexes', 'together', 'a million'], [
    ['session, as opened', ...opened],
    [`session, after ${REFRESHES} refreshes`, ...await bytesOf('sessions')],
    ['revocation', ...await bytesOf('revocations')]
  ])
})

/** One after another, by chance, and whenever a fifth of the rows has changed what autovacuum would do. */
async function refreshAll () {
  for (let round = 0; round < 5 * REFRESHES; round++) {
    await sql(`
      do $$
      declare
        picked uuid;
      begin
        foreach picked in array array(select id from sessions order by random() limit ${ROWS / 5}) loop
          update sessions
          set generation = generation + 1, rotated_at = clock_timestamp(), last_seen_at = clock_timestamp(),
              idle_expires_at = least(clock_timestamp() + interval '7 days', expires_at)
          where id = picked;
          commit;
        end loop;
      end $$`)
    await sql('vacuum sessions')
  }
}

/** What a row takes of its table and indexes. */
async function bytesOf (name: string) {
  await sql(`vacuum analyze ${name}`)
  const [bytes] = await sql<{ row: number, indexes: number }>(`
    select round(pg_table_size('${name}') / count(*))::int as row, round(pg_indexes_size('${name}') / count(*))::int as indexes from ${name}`)
  const { row, indexes } = bytes!
  return [row, indexes, row + indexes, `${row + indexes} MB`]
}

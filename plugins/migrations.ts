import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { runner } from 'node-pg-migrate'
import pg from 'pg'
import type { FastifyBaseLogger } from 'fastify'

const FOLDER = join(import.meta.dirname, '..', 'migrations')
const TABLE = 'pgmigrations'
const PATIENCE_MS = 60_000
const CONNECT_TIMEOUT_MS = 5000
const LONGEST_PAUSE_MS = 2000

type Options = { databaseUrl: string, direction: 'up' | 'down', log: Pick<FastifyBaseLogger, 'info' | 'warn' | 'error' | 'debug'>, signal?: AbortSignal }

/** Runs the migrations, all of them up or one of them down, and answers the names of those that ran. */
export async function migrate (options: Options): Promise<string[]> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    try {
      return await attempt(options)
    } catch (error) {
      if (!isLocked(error) || Date.now() > deadline) throw error
      // Mode `wait` of the library would hold a snapshot, for which CREATE INDEX CONCURRENTLY in another process waits forever.
      await delay(250 + Math.random() * 250, undefined, { signal: options.signal })
    }
  }
}

async function attempt ({ databaseUrl, direction, log, signal }: Options) {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'microts migrate', connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', (error) => log.warn({ err: error }, 'the connection of the migrations broke'))
  const leave = () => { client.end().catch(() => {}) }
  try {
    await client.connect()
    signal?.addEventListener('abort', leave)
    const done = await runner({
      dbClient: client,
      dir: FOLDER,
      migrationsTable: TABLE,
      direction,
      count: direction === 'up' ? Infinity : 1,
      singleTransaction: false,
      logger: { debug: () => {}, info: (text) => log.debug(text), warn: (text) => log.debug(text), error: (text) => log.debug(text) }
    })
    return done.map(({ name }) => name)
  } finally {
    signal?.removeEventListener('abort', leave)
    await client.end()
  }
}

const isLocked = (error: unknown) => /another migration is already running/i.test((error as Error).message)

/** Every migration this version knows, and whether it has run. */
export async function migrationStatus (query: (text: string) => Promise<{ name: string }[]>) {
  const files = await readdir(FOLDER)
  const names = files.map((file) => file.replace(/\.\w+$/, '')).sort()
  const done = new Set((await query(`select name from ${TABLE}`)).map(({ name }) => name))
  return names.map((name) => ({ name, hasRun: done.has(name) }))
}

export default fp(async (app) => {
  const stop = new AbortController()
  const { DATABASE_URL: databaseUrl = '', MIGRATE_ON_START: migratesOnStart } = app.config

  app.health.add('migrations', async () => {
    const missing = (await migrationStatus((text) => app.db.query<{ name: string }>(text))).filter(({ hasRun }) => !hasRun)
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

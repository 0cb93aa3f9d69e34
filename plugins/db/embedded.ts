import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { ignore, openCluster } from './embedded-cluster.ts'
import type { Cluster, ClusterOptions } from './embedded-cluster.ts'

const START_TRIES = 10
const BUSY_TRIES = 600
const LEAVE_TRIES = 3
const PAUSE_MS = 100
// Where PostgreSQL loses one process it ends all connections: who leaves then waits until the others have theirs again.
const REGROUP_MS = 1000
const CONNECT_TIMEOUT_MS = 5000
const CANNOT_CONNECT_NOW = '57P03'

// Advisory locks in the database postgres, where nobody else takes any.
const IN_USE = 1
const CREATING = 2

/** Starts the PostgreSQL of a folder or joins the one that runs. The last of its users to call `stop` stops it. */
export async function startEmbedded (options: ClusterOptions) {
  try {
    const cluster = await openCluster(options)
    const client = await enter(cluster)
    return {
      // Whatever PGSSLMODE says, there is no TLS here.
      url: `postgres://microts:${cluster.password}@127.0.0.1:${client.port}/microts?sslmode=disable`,
      stop: stay(cluster, client)
    }
  } catch (error) {
    const { message } = error as Error
    throw new Error(`No embedded PostgreSQL in ${options.folder} (set DATABASE_URL to use another one): ${message}`, { cause: error })
  }
}

/** Joins the server, and starts it where there is none; others may be starting or stopping it at the same time. */
async function enter (cluster: Cluster, tries = START_TRIES, failure = ''): Promise<pg.Client> {
  try {
    return await attach(cluster)
  } catch (error) {
    if (!tries) throw new Error(`${(error as Error).message}; ${failure}`, { cause: error })
  }
  const next = await cluster.start().then(() => '', (error: Error) => error.message)
  if (next) await delay(PAUSE_MS)
  return await enter(cluster, tries - 1, next)
}

/** Keeps counting as a user, by a new connection where one is lost, until the function that it answers with is called. */
function stay (cluster: Cluster, entered: pg.Client) {
  let user = Promise.resolve(entered)
  let leaving: Promise<void> | undefined
  watch(entered)
  return () => {
    leaving ??= user.then((client) => leave(cluster, client))
    return leaving
  }

  function watch (client: pg.Client) {
    client.once('end', () => { if (!leaving) user = replace(client) })
  }

  /** The lost one itself, where the server is gone or we go. */
  async function replace (lost: pg.Client, tries = BUSY_TRIES): Promise<pg.Client> {
    if (leaving || !tries) return lost
    try {
      const client = await attach(cluster, 0)
      watch(client)
      await delay(REGROUP_MS)
      return client
    } catch {
      await delay(PAUSE_MS)
      return await replace(lost, tries - 1)
    }
  }
}

/** A connection that counts as a user of the server: its lock goes when its process does, however that ends. */
async function attach (cluster: Cluster, tries = BUSY_TRIES): Promise<pg.Client> {
  const client = await createClient(cluster)
  try {
    await client.connect()
    await client.query(`select pg_advisory_lock_shared(${IN_USE})`)
    await createDatabase(client)
    return client
  } catch (error) {
    await client.end()
    const isStartingOrStopping = (error as pg.DatabaseError).code === CANNOT_CONNECT_NOW
    if (!isStartingOrStopping || !tries) throw error
  }
  cluster.onProgress('waiting for the PostgreSQL that is starting or stopping')
  await delay(PAUSE_MS)
  return await attach(cluster, tries - 1)
}

async function createClient ({ port: findPort, password }: Cluster) {
  const port = await findPort()
  if (!port) throw new Error('it is not running')
  const server = { host: '127.0.0.1', port, user: 'microts', password, database: 'postgres', ssl: false }
  const client = new pg.Client({ ...server, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', ignore)      // whoever uses it next is told
  return client
}

async function createDatabase (client: pg.Client) {
  await client.query(`select pg_advisory_lock(${CREATING})`)
  const { rowCount } = await client.query("select from pg_database where datname = 'microts'")
  if (!rowCount) await client.query('create database microts')
  await client.query(`select pg_advisory_unlock(${CREATING})`)
}

async function leave (cluster: Cluster, user: pg.Client) {
  let client = user
  const isLast = await ask().catch(() => false)      // the server is gone as well
  // A server that was killed meanwhile, or is slow, has been told to stop: nobody can do more.
  if (isLast) await cluster.stop().catch((error: Error) => cluster.onProgress(error.message))
  await client.end()

  /** Over a new connection where one is lost, which is lost as well where PostgreSQL had not begun to end all of them. */
  async function ask (tries = LEAVE_TRIES): Promise<boolean> {
    try {
      return await release(client)
    } catch (error) {
      if (!tries || !await cluster.port()) throw error
      client = await attach(cluster).catch(() => client)
      await delay(REGROUP_MS)
      return await ask(tries - 1)
    }
  }
}

/** True where nobody else uses the server; newcomers wait then, until it is gone or this connection is. */
async function release (client: pg.Client) {
  await client.query(`select pg_advisory_unlock_shared(${IN_USE})`)
  const { rows } = await client.query<{ isLast: boolean }>(`select pg_try_advisory_lock(${IN_USE}) as "isLast"`)
  return rows[0]!.isLast
}

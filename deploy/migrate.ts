import { readFile } from 'node:fs/promises'
import { constants } from 'node:os'
import pg from 'pg'
import { stateFolder } from '../plugins/config/state-folder.ts'
import { migrate, migrationStatus } from '../plugins/migrations.ts'
import { runCommand, setting, write } from './command.ts'

const HELP = `Usage: npm run migrate -- up | down | status     (in the image: node deploy/migrate.ts up | down | status)

  up       run all migrations that have not run yet
  down     take the last one back
  status   list them

DATABASE_URL, or a file named by DATABASE_URL_FILE, says which database; outside production the embedded one is the default.
`
const log = { debug: () => {}, warn: (cause: unknown, line = '') => process.stderr.write(`${line}\n`) }

let signal: NodeJS.Signals | undefined
const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, interrupt)

process.exitCode = await runCommand({
  help: HELP,
  options: {},
  verbs: { up: { run: () => onDatabase(move('up')) }, down: { run: () => onDatabase(move('down')) }, status: { run: () => onDatabase(printStatus) } },
  sentenceOf
})
if (signal) process.exitCode = 128 + constants.signals[signal]

/** The terminal and npm may both tell: the database is stopped all the same. */
function interrupt (name: NodeJS.Signals) {
  signal ??= name
  interrupted.abort()
}

async function onDatabase (work: (databaseUrl: string) => Promise<void>) {
  const { url, stop } = await database()
  try {
    interrupted.signal.throwIfAborted()
    await work(url)
  } finally {
    await stop()
  }
}

function move (direction: 'up' | 'down') {
  return async (databaseUrl: string) => {
    const names = await migrate({ databaseUrl, direction, log, signal: interrupted.signal })
    write(names.length === 0 ? 'nothing to do' : names.map((name) => `${direction}  ${name}`).join('\n'))
  }
}

async function database () {
  const [inline, file] = [setting('DATABASE_URL'), setting('DATABASE_URL_FILE')]
  if (inline && file) throw new Error('DATABASE_URL and DATABASE_URL_FILE are both set')
  const url = inline ?? (file && await readUrl(file))
  if (url) return { url, stop: async () => {} }
  if (setting('NODE_ENV') === 'production') throw new Error('DATABASE_URL is required in production')
  const { startEmbedded } = await import('../plugins/db/embedded.ts')
  return startEmbedded({ folder: stateFolder(process.env) })
}

async function readUrl (file: string) {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch {
    throw new Error('DATABASE_URL_FILE cannot be read')
  }
}

async function printStatus (connectionString: string) {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5000 })
  client.on('error', () => {})      // whoever waits for an answer is told
  interrupted.signal.addEventListener('abort', () => client.connection.stream.destroy())
  await client.connect()
  try {
    const status = await migrationStatus(async (text) => (await client.query<{ name: string }>(text)).rows)
    for (const { name, hasRun } of status) write(`${hasRun ? 'up     ' : 'pending'}  ${name}`)
  } finally {
    await client.end()
  }
}

/** For the operator, who needs no stack. */
function sentenceOf ({ message, code }: Error & { code?: string }) {
  if (signal) return 'interrupted'
  return code?.startsWith('E') ? `The database cannot be reached: ${code}` : message.split('\n', 1).join()
}

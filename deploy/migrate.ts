import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { stateFolder } from '../plugins/config/state-folder.ts'
import { migrate, migrationStatus } from '../plugins/migrations.ts'
import { runCommand, write } from './command.ts'

const HELP = `Usage: npm run migrate -- up | down | status     (in the image: node deploy/migrate.ts up | down | status)

  up       run all migrations that have not run yet
  down     take the last one back
  status   list them

DATABASE_URL, or a file named by DATABASE_URL_FILE, says which database; outside production the embedded one is the default.
`
const log = { debug: () => {}, warn: (cause: unknown, line = '') => process.stderr.write(`${line}\n`) }

process.exitCode = await runCommand({
  help: HELP,
  options: {},
  verbs: { up: { run: () => onDatabase(move('up')) }, down: { run: () => onDatabase(move('down')) }, status: { run: () => onDatabase(printStatus) } },
  sentenceOf
})

async function onDatabase (work: (databaseUrl: string) => Promise<void>) {
  const { url, stop } = await database()
  try {
    await work(url)
  } finally {
    await stop()
  }
}

function move (direction: 'up' | 'down') {
  return async (databaseUrl: string) => {
    const names = await migrate({ databaseUrl, direction, log })
    write(names.length === 0 ? 'nothing to do' : names.map((name) => `${direction}  ${name}`).join('\n'))
  }
}

async function database () {
  const { DATABASE_URL, DATABASE_URL_FILE: file, NODE_ENV } = process.env
  const url = DATABASE_URL || (file && await readUrl(file))
  if (url) return { url, stop: async () => {} }
  if (NODE_ENV === 'production') throw new Error('DATABASE_URL is required in production')
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
  return code?.startsWith('E') ? `The database cannot be reached: ${code}` : message.split('\n', 1).join()
}

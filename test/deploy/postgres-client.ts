import { appendFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import pg from 'pg'

// PostgreSQL's pg_dump, pg_restore and psql as far as the playbook goes, since those of this machine may be older than the server: each writes down
// its command line and connects as it is told; psql does what it reads.
const [name, ...args] = process.argv.slice(2)
appendFileSync(process.env.COMMAND_LINES!, `${[name, ...args].join(' ')}\n`)

const address = args.find((arg) => arg.startsWith('postgres'))
if (address) {
  const client = new pg.Client(address)
  await client.connect()
  if (name === 'psql') await client.query(await text(process.stdin))
  await client.end()
} else {
  process.stdout.write('0; 0 1 TABLE DATA public users microts\n')
}

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from '../app.ts'
import { loadConfig } from '../plugins/config/index.ts'

const NOWHERE = 'postgres://127.0.0.1:9/none'   // the document needs no database

const USAGE = `Usage: npm run openapi -- [file]

Writes the OpenAPI 3.1 document that this version serves, to deploy/openapi.json unless told otherwise.
`

const [file = join(import.meta.dirname, 'openapi.json')] = process.argv.slice(2)
if (file.startsWith('-')) {
  const isAsked = ['-h', '--help'].includes(file)
  process[isAsked ? 'stdout' : 'stderr'].write(USAGE)
  process.exit(isAsked ? 0 : 2)
}
const folder = await mkdtemp(join(tmpdir(), 'microts-openapi-'))
try {
  const app = await build(loadConfig({ DATABASE_URL: NOWHERE, LOG_LEVEL: 'fatal' }, folder))
  await app.ready()
  await writeFile(file, `${JSON.stringify(await app.openapi(), null, 2)}\n`)
  await app.close()
  console.log(`${file} is written: look at what changed before you commit it.`)
} finally {
  await rm(folder, { recursive: true })
}

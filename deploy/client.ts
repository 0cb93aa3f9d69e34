import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'

const USAGE = `Usage: npm run client -- [folder]
Writes a typed TypeScript client of microts, which needs nothing but fetch, to a folder of its own ("client" unless told otherwise).
What an earlier run wrote there is replaced.`

const [name = 'client'] = process.argv.slice(2)
const folder = resolve(process.env.INIT_CWD ?? '.', name)

if (name.startsWith('-') || name === 'help') end(USAGE, ['-h', '--help', 'help'].includes(name) ? 0 : 2)
// The generator empties the folder first.
if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(join(folder, 'client.gen.ts'))) end(`${folder} holds something else: name another folder.`, 1)

const { createClient } = await import('@hey-api/openapi-ts')      // which takes a second to load
await createClient({
  input: join(import.meta.dirname, 'openapi.json'),
  output: { path: folder, module: { extension: '.js' } },
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  logs: { file: false }
})

function end (sentence: string, code: number): never {
  console[code === 0 ? 'log' : 'error'](sentence)
  process.exit(code)
}

import { join, resolve } from 'node:path'
import { createClient } from '@hey-api/openapi-ts'

const [folder = 'client'] = process.argv.slice(2)

if (folder.startsWith('-')) {
  console.log('Usage: npm run client -- [folder]\nWrites a typed TypeScript client of microts, which needs nothing but fetch, to a folder of that name ("client" unless told otherwise).')
  process.exit(['-h', '--help'].includes(folder) ? 0 : 1)
}

await createClient({
  input: join(import.meta.dirname, 'openapi.json'),
  output: { path: resolve(process.env.INIT_CWD ?? '.', folder), module: { extension: '.js' } },
  plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  logs: { file: false }
})

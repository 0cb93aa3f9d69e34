import { get } from 'node:http'
import { setting } from './command.ts'

// For the HEALTHCHECK of an image that has no curl. /health touches no dependency: a container whose database is away is not to be restarted.
const TIMEOUT_MS = 2000
const DEFAULT_PORT = '3000'
const ANY_ADDRESS = ['0.0.0.0', '::']
const [address, port = DEFAULT_PORT] = [setting('HOST'), setting('PORT')]
const host = !address || ANY_ADDRESS.includes(address) ? '127.0.0.1' : address

get({ host, port, path: '/health', signal: AbortSignal.timeout(TIMEOUT_MS) })
  .on('response', ({ statusCode }) => end(statusCode === 200 ? 0 : 1, `/health answers ${statusCode}`))
  .on('error', ({ name, code = name }: NodeJS.ErrnoException) => end(1, `/health on port ${port} does not answer: ${code}`))

function end (exitCode: number, sentence: string) {
  process.stdout.write(`${sentence}\n`)
  process.exit(exitCode)
}

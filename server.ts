import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import { build } from './app.ts'
import { stateFolder } from './plugins/config/development.ts'
import { ConfigFault, loadConfig, type Config } from './plugins/config/index.ts'
import type { FastifyInstance } from 'fastify'

// Hashes use libuv's pool, which is made at its first use; one thread more than hashes is left for DNS and files.
process.env.UV_THREADPOOL_SIZE ??= String(1 + Number(process.env.HASH_CONCURRENCY || availableParallelism()))

const SWEEP_MS = 250
const PORTS_TO_TRY = 20

try {
  await start()
} catch (error) {
  process.stderr.write(`${error instanceof ConfigFault ? error.message : (error as Error).stack}\n`)
  process.exit(1)
}

async function start () {
  const settings = loadConfig(process.env)
  const embedded = settings.DATABASE_URL ? undefined : await startDatabase()
  const config = { ...settings, DATABASE_URL: settings.DATABASE_URL ?? embedded?.url }
  const isTerminal = process.stdout.isTTY && config.NODE_ENV !== 'production'
  const app = await build(config, { isTerminal })

  closeWithGrace({ delay: config.SHUTDOWN_TIMEOUT, logger: app.log }, async ({ signal, err }) => {
    if (err) app.log.fatal({ err }, 'stopping because of an error nobody caught')
    else app.log.info({ signal }, 'stopping')
    await drain(app)
    await embedded?.stop()
  })

  const address = await listen(app, config)
  if (config.NODE_ENV === 'production') return
  await app.health.risen
  greet(address)
}

async function startDatabase () {
  const { startEmbedded } = await import('./plugins/db/embedded.ts')
  return startEmbedded({
    folder: stateFolder(process.env),
    onProgress: (step) => process.stdout.write(`${step} …\n`)
  })
}

/** Unready at once, still serving while load balancers notice, then closed. */
async function drain (app: FastifyInstance) {
  app.health.drain()
  await delay(app.config.SHUTDOWN_DELAY)
  const sweep = setInterval(() => app.server.closeIdleConnections(), SWEEP_MS)
  await app.close()
  clearInterval(sweep)
}

/** A second start beside the first takes the next port, unless it was told which one to take. */
async function listen (app: FastifyInstance, { HOST: host, PORT, NODE_ENV }: Config) {
  const ports = process.env.PORT || NODE_ENV === 'production' ? 1 : PORTS_TO_TRY
  for (let port = PORT; ; port++) {
    try {
      return await app.listen({ host, port, listenTextResolver: (address) => `listening on ${address}` })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || port + 1 >= PORT + ports) throw error
    }
  }
}

function greet (address: string) {
  const url = address.replace('127.0.0.1', 'localhost')
  process.stdout.write(`
  microts   ${url}
  docs      ${url}/docs
  try       curl -s ${url}/auth/register -H 'content-type: application/json' -d '{"email":"ada@example.com","password":"correct horse battery staple"}'

`)
}

import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { closing } from './plugins/http/closing.ts'
import { settleShapes } from './plugins/http/shapes.ts'
import { SIGNALS, stopWithGrace } from './plugins/http/stopping.ts'
import type { FastifyInstance } from 'fastify'
import type { Config } from './plugins/config/index.ts'
import type { Reason } from './plugins/http/stopping.ts'

// Hashes use libuv's pool, which is made at its first use; one thread more than hashes is left for DNS and files.
process.env.UV_THREADPOOL_SIZE = process.env.UV_THREADPOOL_SIZE?.trim() || String(1 + Number(process.env.HASH_CONCURRENCY?.trim() || availableParallelism()))

// The first process of a container never hears a signal that it did not listen to, and what follows takes a while to load.
const exit = process.exit.bind(process, 0)
for (const signal of SIGNALS) process.on(signal, exit)
const { ConfigFault, loadConfig } = await import('./plugins/config/index.ts')
const { stateFolder } = await import('./plugins/config/state-folder.ts')

const SWEEP_MS = 250
// For the name localhost Fastify opens a second server (::1), which has none of our listeners and limits.
const LOCAL = '127.0.0.1'
const PORTS_TO_TRY = 20

let running: { app: FastifyInstance, countUncaught: () => void } & ReturnType<typeof closing> | undefined
let database: ReturnType<typeof startDatabase> | undefined

try {
  await start(loadConfig(process.env))
} catch (error) {
  process.stderr.write(`${sentenceOf(error as Error)}\n`)
  await stop().catch(() => {})
  process.exit(1)
}

async function start (settings: Config) {
  // It sees what is loaded after it.
  const tracing = settings.OTEL_EXPORTER_OTLP_ENDPOINT ? await startTracing(settings) : undefined
  const { build } = await import('./app.ts')
  const { createDestination } = await import('./plugins/logging/destination.ts')
  const { Response } = await import('./plugins/security/response.ts')
  // Before anything is started, so that Ctrl-C finds all of it, however far it has come.
  stopWithGrace({ timeoutMs: settings.SHUTDOWN_TIMEOUT, announce, stop, complain })
  for (const signal of SIGNALS) process.off(signal, exit)

  if (!settings.DATABASE_URL) database = startDatabase()
  const config = Object.freeze({ ...settings, DATABASE_URL: settings.DATABASE_URL ?? (await database)?.url })
  const isProduction = config.NODE_ENV === 'production'
  const isTerminal = process.stdout.isTTY && !isProduction
  const app = await build(config, { isTerminal, stream: isTerminal ? undefined : createDestination(), tracing })
  // The last hook is the first to run: after the last answer, and while there is still all that spans tell of.
  if (tracing) app.addHook('onClose', tracing.stop)
  const uncaught = app.metrics.counter({ name: 'microts_uncaught_errors_total', help: 'Errors that nobody caught: the process ends' })
  running = { app, ...closing(app.server), countUncaught: () => uncaught.inc() }
  await app.ready()
  // Where there is much memory V8 would let garbage pile up to several times what lives. Not before all is loaded: what was compiled is taken only under the flags that it was compiled under.
  setFlagsFromString('--heap-growing-percent=30')
  settleShapes(Response)
  const address = await listen(app, config)
  app.log.info(`listening on ${address}`)
  if (!isProduction) await app.health.risen.then(() => greet(address))
}

async function startTracing (config: Config) {
  const tracing = await import('./tracing.ts')
  return tracing.startTracing({ config, onLoss: () => running?.app.log.warn('the collector takes no spans, they are lost') })
}

async function startDatabase () {
  const { startEmbedded } = await import('./plugins/db/embedded.ts')
  return startEmbedded({ folder: stateFolder(process.env), onProgress: (step) => process.stdout.write(`${step} …\n`) })
}

async function stop () {
  if (running) await drain(running)
  await (await database)?.stop()
}

function announce (reason: Reason) {
  if (!('err' in reason)) {
    running?.app.log.info(reason, 'stopping')
    return
  }
  running?.countUncaught()
  complain(reason, 'stopping because of an error nobody caught')
}

/** As a line of the log, or for whoever started it where there is none yet. */
function complain (fields: { err?: unknown }, sentence: string) {
  if (running) running.app.log.fatal(fields, sentence)
  else process.stderr.write(`${fields.err instanceof Error ? sentenceOf(fields.err) : sentence}\n`)
}

/** A stack is for what nobody foresaw. */
function sentenceOf (error: Error) {
  return error instanceof ConfigFault || 'syscall' in error || error.cause ? error.message : error.stack
}

/** Unready at once, still serving while load balancers notice, then closed when all is answered, or nothing more can be. */
async function drain ({ app, closePort, sweep, cut }: NonNullable<typeof running>) {
  const { listening } = app.server
  app.health.drain()
  if (listening) await delay(app.config.SHUTDOWN_DELAY)
  setTimeout(cut, app.config.REQUEST_TIMEOUT)
  if (listening) await closePort()
  setInterval(sweep, SWEEP_MS)
  await app.close()
}

/** A second start beside the first takes the next port, unless it was told which one to take. */
async function listen (app: FastifyInstance, config: Config, port = config.PORT): Promise<string> {
  try {
    return await listenQuietly(app, { host: config.HOST === 'localhost' ? LOCAL : config.HOST, port })
  } catch (error) {
    const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
    const isToldWhich = process.env.PORT || config.NODE_ENV === 'production'
    if (!isTaken || isToldWhich || port === config.PORT + PORTS_TO_TRY) throw error
  }
  return listen(app, config, port + 1)
}

/** Fastify itself would tell each interface in a line of its own. */
async function listenQuietly (app: FastifyInstance, where: { host: string, port: number }) {
  const { level } = app.log
  app.log.level = 'silent'
  return app.listen(where).finally(() => { app.log.level = level })
}

function greet (address: string) {
  const url = address.replace('127.0.0.1', 'localhost')
  process.stdout.write(`
  microts   ${url}
  docs      ${url}/docs
  try       curl -s ${url}/auth/register -H 'content-type: application/json' -d '{"email":"ada@example.com","password":"correct horse battery staple"}'

`)
}

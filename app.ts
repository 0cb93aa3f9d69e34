import { join } from 'node:path'
import autoload from '@fastify/autoload'
import Fastify, { type FastifyInstance } from 'fastify'
import { clientErrorHandler } from './plugins/http/below-routing.ts'
import { frameworkErrors } from './plugins/http/index.ts'
import { requestIdOf } from './plugins/ids.ts'
import { loggerOptions } from './plugins/logging/index.ts'
import { missingMethods } from './plugins/methods.ts'
import { Response } from './plugins/security/response.ts'
import type { Config } from './plugins/config/index.ts'
import type { Tracing } from './tracing.ts'

const BODY_BYTES = 10_240
const PARAMETER_LENGTH = 100
const SLOW_CLIENT_MS = 10_000
const KEEP_ALIVE_MS = 72_000   // longer than a load balancer's 60 s, so that it is never us who closes first

type Settings = { isTerminal?: boolean, stream?: { write: (line: string) => void }, tracing?: Pick<Tracing, 'plugin' | 'currentSpan'> }

/** The service with all its plugins and routes, not yet listening. */
export async function build (config: Config, { isTerminal = false, stream, tracing }: Settings = {}): Promise<FastifyInstance> {
  const { logger, ...logging } = loggerOptions(config, isTerminal, tracing?.currentSpan)
  const app = Fastify({
    ...logging,
    logger: { ...logger, stream },
    genReqId: requestIdOf,
    bodyLimit: BODY_BYTES,
    routerOptions: { maxParamLength: PARAMETER_LENGTH },
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Who reads nothing of what is answered is cut.
    connectionTimeout: 2 * Math.max(config.REQUEST_TIMEOUT, SLOW_CLIENT_MS),
    return503OnClosing: false,
    trustProxy: config.TRUSTED_PROXIES,
    // A slow head or body is cut, which is checked every second. Fastify sets its own requestTimeout after Node's. Host is judged by a hook of ours.
    requestTimeout: SLOW_CLIENT_MS,
    http: { headersTimeout: SLOW_CLIENT_MS, connectionsCheckingInterval: 1000, requireHostHeader: false, ServerResponse: Response },
    clientErrorHandler,
    frameworkErrors
  })
  if (tracing) await app.register(tracing.plugin)
  await app.register(autoload, { dir: join(import.meta.dirname, 'plugins'), dirNameRoutePrefix: false, options: { config } })
  await app.register(autoload, { dir: join(import.meta.dirname, 'routes') })
  await app.register(missingMethods)
  return app
}

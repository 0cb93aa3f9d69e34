import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Ajv, type ValidateFunction } from 'ajv'
import fp from 'fastify-plugin'
import { developmentSecrets } from './development.ts'
import { faultsOf } from './faults.ts'
import { EnvSchema, type Config } from './schema.ts'
import { stateFolder } from './state-folder.ts'
import manifest from '../../package.json' with { type: 'json' }

declare module 'fastify' {
  interface FastifyInstance {
    config: Config
    /** The version of microts; `version` is Fastify's. */
    release: string
  }
}

export { EnvSchema, type Config }
type Env = Record<string, string | undefined>

/** Settings that may come from a file named by NAME_FILE; JWT_KEYS_FILE is a setting of its own, since it is read again. */
export const SECRETS = ['DATABASE_URL', 'REDIS_URL', 'REDIS_CLUSTER_NODES', 'REFRESH_TOKEN_SECRET', 'OPS_TOKEN', 'ALERT_WEBHOOK_URL'] as const

/** Names every fault of the environment at once, and never a value. */
export class ConfigFault extends Error {
  faults: string[]

  constructor (faults: string[]) {
    super(['The settings are not usable:', ...faults.map((fault) => `  - ${fault}`)].join('\n'))
    this.name = 'ConfigFault'
    this.faults = faults
  }
}

/** Reads the settings once. Throws a ConfigFault that lists all that is wrong. What development needs is kept in `folder`. */
export function loadConfig (env: Env, folder = stateFolder(env)): Config {
  const faults: string[] = []
  const given = tidied(readSecretFiles(tidied(env), faults))
  const data = withDefaults(given, folder, faults)
  faults.push(...faultsOf(data))
  const config = parse(data, faults)
  if (!config) throw new ConfigFault(faults)
  Object.values(config).forEach(Object.freeze)
  return Object.freeze(config)
}

// As env-schema does it, which takes a tenth of the start to compile what judges its own options.
const ajv = new Ajv({
  allErrors: true,
  coerceTypes: true,
  removeAdditional: 'all',
  useDefaults: true,
  validateSchema: false,
  code: { optimize: false },
  keywords: [{ keyword: 'separator', type: 'string', modifying: true, compile: split }]
})
const convert = ajv.compile<Config>(EnvSchema)

/** Puts the list in the place of its text. */
function split (separator: string) {
  return function replace (...[text, place]: Parameters<ValidateFunction>) {
    place!.parentData[place!.parentDataProperty] = text.split(separator).filter(Boolean)
    return true
  }
}

function parse (data: Env, faults: string[]) {
  const config: unknown = { ...data }
  if (convert(config)) return faults.length === 0 ? config : undefined
  faults.push(...convert.errors!.map(({ instancePath, message, params }) => params.missingProperty ? `${params.missingProperty} is required` : `${instancePath.slice(1)} ${message}`))
  return undefined
}

// A blank is as good as nothing, in a list too.
function tidied (env: Env): Env {
  const lists = Object.keys(EnvSchema.properties).filter((name) => 'separator' in EnvSchema.properties[name as keyof Config])
  const trimmed = Object.entries(env).map(([name, value = '']) =>
    [name, lists.includes(name) ? value.split(',').map((item) => item.trim()).filter(Boolean).join() : value.trim()] as const)
  return Object.fromEntries(trimmed.filter(([, value]) => value))
}

function readSecretFiles (env: Env, faults: string[]): Env {
  const files: Env = {}
  for (const name of SECRETS) {
    const file = env[`${name}_FILE`]
    if (!file) continue
    if (env[name]) faults.push(`${name} and ${name}_FILE are both set`)
    try {
      files[name] = readFileSync(file, 'utf8')
    } catch {
      faults.push(`${name}_FILE cannot be read`)
    }
  }
  return { ...env, ...files }
}

function withDefaults (env: Env, folder: string, faults: string[]): Env {
  const cores = { HASH_CONCURRENCY: String(availableParallelism()) }
  if (env.NODE_ENV === 'production') return { ...cores, HOST: '0.0.0.0', MIGRATE_ON_START: 'false', ...env }
  const defaults: Env = { ...cores, SHUTDOWN_DELAY: '0', JWT_ISSUER: `http://localhost:${env.PORT ?? 3000}` }
  try {
    return { ...defaults, ...developmentSecrets(env, folder), ...env }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    faults.push(`The secrets of development cannot be kept in the state folder (${code}): set JWT_KEYS and REFRESH_TOKEN_SECRET`)
    return { ...defaults, ...env }
  }
}

export default fp<{ config: Config }>(async (app, { config }) => {
  app.decorate('config', config)
  app.decorate('release', manifest.version)
}, { name: 'config' })

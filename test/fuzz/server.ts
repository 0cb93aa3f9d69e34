import { createInterface } from 'node:readline'
import { eventually } from '../eventually.ts'
import { settings } from '../helper.ts'
import { listening, preload, start } from '../processes.ts'
import { OPS_TOKEN } from './persona.ts'
import { SESSION_LIMIT } from './world.ts'
import type { Service } from './holds.ts'
import type { Test } from 'tap'

const FATAL = /"level":60/
const ERROR = /"level":[56]0/
const LIMITS = Object.keys(settings).filter((name) => name.startsWith('RATE_LIMIT_')).map((name) => [name, '1000000'])
const PRODUCTION = {
  ...settings,
  ...Object.fromEntries(LIMITS),
  NODE_ENV: 'production',
  ARGON2_MEMORY: undefined,
  ARGON2_TIME: undefined,
  LOG_LEVEL: 'info',
  HOST: '127.0.0.1',
  PORT: '0',
  MIGRATE_ON_START: 'true',
  OPS_TOKEN,
  SESSION_LIMIT: String(SESSION_LIMIT),
  SHUTDOWN_DELAY: '0'
}

// What every object inherits is looked at from within, where alone it can be seen.
const ENDS_WHEN_POLLUTED = preload(`
  setInterval(() => {
    for (const name in {}) throw new Error('Object.prototype has got ' + name);
  }, 50).unref();`)

/** The service as an operator runs it. Whenever it has ended, which it should not, it is started again, so that what ended it can be shrunk. */
export async function startServer (t: Test): Promise<Required<Service> & { stop: () => Promise<{ code: number | null, stderr: string }> }> {
  let current = await begin(t)

  return {
    async address () {
      if (FATAL.test(current.errors.join())) await current.server.ended
      const { exitCode, signalCode } = current.server.child
      if (exitCode !== null || signalCode !== null) current = await begin(t)
      return current.address
    },

    complaint () {
      const { errors, told } = current
      current.told = errors.length
      return errors.length > told ? errors.slice(told).join('\n') : undefined
    },

    async stop () {
      current.server.child.kill('SIGTERM')
      return current.server.ended
    }
  }
}

/** A server that is ready, and the errors that it logs. */
async function begin (t: Test) {
  const server = start(t, 'server.ts', [], PRODUCTION, ENDS_WHEN_POLLUTED)
  const errors: string[] = []
  createInterface(server.child.stdout).on('line', (line) => { if (ERROR.test(line)) errors.push(line) })
  const address = new URL(await listening(server))
  await eventually(async () => (await fetch(new URL('/ready', address))).ok)
  return { server, address, errors, told: 0 }
}

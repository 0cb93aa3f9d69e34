import { randomBytes } from 'node:crypto'
import fp from 'fastify-plugin'
import { PasswordCommon, PasswordTooLong, PasswordTooShort, refusal } from '../errors.ts'
import { buildOf, refuseOtherCpu } from './argon2-build.ts'
import { isCommon } from './common-passwords.ts'
import { createHashGate } from './hash-gate.ts'
import { letLoopGoFirst } from './hash-threads.ts'
import type { Config } from '../config/index.ts'
import type { Slots } from '../slots.ts'

declare module 'fastify' {
  interface FastifyInstance { passwords: Awaited<ReturnType<typeof createPasswords>> }
  interface FastifyContextConfig {
    /** Whether nothing can be done without a hash: it is refused on arrival while too many are waiting, and else has a place from when its body is there. */
    needsHash?: boolean
  }
}

const MAX_LENGTH = 128
// NFKC makes one character of four at most, and each has two units of UTF-16 at most.
const MOST_UNITS = 8 * MAX_LENGTH
const SERVICE_NAME = 'microts'
const TELLING_LENGTH = 4
const DURATIONS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

type Surroundings = Pick<Parameters<typeof createHashGate>[0], 'caller' | 'onHash' | 'onDecline'>
type Settings = Pick<Config, 'PASSWORD_MIN_LENGTH' | 'ARGON2_MEMORY' | 'ARGON2_TIME' | 'ARGON2_PARALLELISM' | 'HASH_CONCURRENCY' | 'HASH_QUEUE_TIMEOUT'>

/** argon2id (OWASP Password Storage Cheat Sheet) over the NFKC form (NIST SP 800-63B-4), behind the hash gate. */
export async function createPasswords (config: Settings, slots: (count: number) => Slots, surroundings: Surroundings = {}) {
  refuseOtherCpu()
  const { default: argon2 } = await import('argon2')
  const gate = createHashGate({ slots: slots(config.HASH_CONCURRENCY), queueTimeoutMs: config.HASH_QUEUE_TIMEOUT, ...surroundings })
  const parameters = { memoryCost: config.ARGON2_MEMORY, timeCost: config.ARGON2_TIME, parallelism: config.ARGON2_PARALLELISM }
  const dummy = hashOfNothing(parameters)

  return {
    gate,
    build: buildOf(),

    /** Refuses a new password with a reason; `pointer` is its place in the body (RFC 6901). */
    check (password: string, { localPart, pointer }: { localPart: string, pointer: string }) {
      const error = faultOf(normalized(password), localPart, config.PASSWORD_MIN_LENGTH)
      if (error) throw refusal(error, { errors: [{ pointer, code: error.code, message: error.message }] })
    },

    async hash (password: string) {
      return gate.pass(async () => inOrder(await argon2.hash(normalized(password), { ...parameters, type: argon2.argon2id })))
    },

    /** Takes as long for an account that does not exist, whose hash is undefined, as for one that does. */
    async verify (hash: string | undefined, password: string) {
      const isRight = await gate.pass(() => argon2.verify(hash ?? dummy, normalized(password)))
      return isRight && hash !== undefined
    },

    /** Whether two spellings are one password. */
    areEqual: (one: string, other: string) => normalized(one) === normalized(other),

    /** Whether the parameters have risen since this hash was made. */
    isOutdated (hash: string) {
      const cost = (name: 'm' | 't' | 'p') => Number(hash.match(`[$,]${name}=(\\d+)`)?.[1])
      return cost('m') < parameters.memoryCost || cost('t') < parameters.timeCost || cost('p') < parameters.parallelism
    }
  }
}

/** Of what can be no password as much as shows that: to put thousands of combining characters into order takes longer than a hash, and holds up all else. */
const normalized = (password: string) => password.slice(0, MOST_UNITS + 1).normalize('NFKC')

/** To verify a password by it takes as long as by any other, and no password is right. No hash is computed for it, which would hold up the start. */
function hashOfNothing ({ memoryCost: m, timeCost: t, parallelism: p }: { memoryCost: number, timeCost: number, parallelism: number }) {
  const [salt, digest] = [16, 32].map((bytes) => randomBytes(bytes).toString('base64').replaceAll('=', ''))
  return `$argon2id$v=19$m=${m},t=${t},p=${p}$${salt}$${digest}`
}

// The package writes m, p, t, where the reference implementation reads m, t, p and nothing else.
const inOrder = (hash: string) => hash.replace(/m=(\d+),p=(\d+),t=(\d+)/, 'm=$1,t=$3,p=$2')

// A Greek sigma has two lower cases.
const folded = (text: string) => text.toLowerCase().replaceAll('ς', 'σ')

function faultOf (password: string, localPart: string, minLength: number) {
  const length = [...password].length
  if (length < minLength) return new PasswordTooShort(minLength)
  if (length > MAX_LENGTH) return new PasswordTooLong(MAX_LENGTH)
  const lower = folded(password)
  if (isCommon(lower)) return new PasswordCommon('This password is among the most common ones')
  if (lower.includes(SERVICE_NAME)) return new PasswordCommon('The password contains the name of the service')
  const own = folded(localPart)
  if ([...own].length >= TELLING_LENGTH && lower.includes(own)) return new PasswordCommon('The password contains a part of the e-mail address')
  return undefined
}

export default fp(async (app) => {
  const { config, metrics } = app
  const durations = metrics.histogram({ name: 'microts_hash_duration_seconds', help: 'Time to hash or verify a password', buckets: DURATIONS })
  const declined = metrics.counter({ name: 'microts_hashes_declined_total', help: 'Requests refused since too many hashes were waiting' })
  const passwords = await createPasswords(config, app.slots, { caller: app.deadline, onHash: (ms) => durations.observe(ms / 1000), onDecline: () => declined.inc() })
  app.decorate('passwords', passwords)
  metrics.gauge({ name: 'microts_hash_concurrency', help: 'Hashes that may run at a time' }).set(config.HASH_CONCURRENCY)
  metrics.gauge({ name: 'microts_hashes_in_flight', help: 'Hashes that are running', collect () { this.set(passwords.gate.running) } })
  metrics.gauge({ name: 'microts_hash_queue_length', help: 'Requests that wait for a hash', collect () { this.set(passwords.gate.queueLength) } })
  metrics.gauge({ name: 'microts_hashes_expected', help: 'Requests that have a place for a hash, and something else to do before it', collect () { this.set(passwords.gate.expected) } })

  // libuv's threads exist by then: reading files started them.
  app.addHook('onReady', async () => letLoopGoFirst())

  // Before the limits, so that most of a flood costs next to nothing.
  app.addHook('onRequest', function refuseIfBusy ({ route }, reply, done) {
    if (route.config.needsHash) passwords.gate.refuseIfFull()
    done()
  })
  // Not before the body is there, or who is slow to send it would keep the places of those who are not.
  app.addHook('onRoute', function keepPlace (route) {
    const { handler } = route
    if (!route.config?.needsHash) return
    route.handler = function (request, reply) {
      return passwords.gate.keep(request.deadline, async () => handler.call(this, request, reply))
    }
  })
}, { name: 'passwords', dependencies: ['config', 'deadline', 'metrics', 'route', 'slots'] })

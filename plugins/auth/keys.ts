import { readFile } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import fp from 'fastify-plugin'
import { unavailable } from '../errors.ts'
import { parseKeys, type KeySet } from './key-set.ts'

declare module 'fastify' {
  interface FastifyInstance { keys: Keys }
}

type Keys = ReturnType<typeof createKeys>

const READ_EVERY_MS = 10_000

type Source = { read: () => Promise<string>, onChange?: (set: KeySet) => void, onRefusal?: (error: unknown) => void, now?: () => number }

/** The current set. `reread` takes a changed source over; one that is not usable is refused, and the old set stays. */
export function createKeys (first: string, { read, onChange, onRefusal, now = () => performance.now() }: Source) {
  let json = first
  let current = parseKeys(first)
  let lookedUpAt = -Infinity
  let reading: Promise<void> | undefined
  let refusal: { cause: unknown } | undefined

  return {
    get current () { return current },
    reread,

    /** The key of this id. One that is not known is looked for in the source, at most every 10 s; who asks meanwhile joins. Throws ServiceUnavailable where that is not usable. */
    async find (kid: string) {
      const known = current.byId(kid)
      if (known) return known
      if (now() - lookedUpAt >= READ_EVERY_MS) {
        lookedUpAt = now()
        await reread()
      } else {
        await reading
      }
      const found = current.byId(kid)
      if (!found && refusal) throw unavailable(refusal.cause)
      return found
    }
  }

  // One read at a time, so that an older answer never replaces a newer one.
  function reread () {
    reading ??= readOnce().finally(() => { reading = undefined })
    return reading
  }

  async function readOnce () {
    try {
      const next = await read()
      refusal = undefined
      if (next === json) return
      current = parseKeys(next)
      json = next
      onChange?.(current)
    } catch (error) {
      refusal = { cause: error }
      onRefusal?.(error)
    }
  }
}

export default fp(async (app) => {
  const { JWT_KEYS: inline, JWT_KEYS_FILE: file } = app.config
  // By content, since Kubernetes replaces a link and fs.watch would not see it.
  const read = async () => inline ?? await readFile(String(file), 'utf8')
  const keys = createKeys(await read(), {
    read,
    onChange: ({ keys }) => app.log.info({ kids: keys.map(({ kid }) => kid) }, 'signing keys changed'),
    onRefusal: (error) => app.log.error({ err: error }, 'changed signing keys are not usable, the old ones stay')
  })
  app.decorate('keys', keys)
  app.metrics.gauge({
    name: 'microts_signing_key_since_timestamp_seconds',
    help: 'Since when the key that signs may sign, or when it was made, in seconds since 1970; unknown for one with neither nbf nor iat',
    labelNames: ['kid'],
    collect () {
      this.reset()
      const { kid, notBefore, madeAt } = keys.current.signer()
      const since = notBefore > 0 ? notBefore : madeAt
      if (since !== undefined) this.set({ kid }, since)
    }
  })
  const timer = setInterval(keys.reread, READ_EVERY_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'keys', dependencies: ['config', 'metrics'] })

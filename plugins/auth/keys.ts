import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance { keys: Keys }
}

export type PublicJwk = { kty: 'OKP', crv: 'Ed25519', x: string, kid: string, alg: 'EdDSA', use: 'sig' }
type PrivateJwk = { kty: string, crv: string, d: string, x: string, nbf?: number }
export type Key = { kid: string, notBefore: number, privateKey: KeyObject, publicPem: string, jwk: PublicJwk }

/** A set of keys: all of them verify and are published, one of them signs. */
export interface KeySet {
  keys: readonly Key[]
  /** The newest key whose `nbf` has passed; the first among equals. */
  signer: () => Key
  byId: (kid: string) => Key | undefined
}
type Keys = ReturnType<typeof createKeys>

const READ_EVERY_MS = 10_000

/** Reads a JWKS of private keys (RFC 7517, 8037). Throws when it is no such thing, or when none of its keys may sign yet. */
export function parseKeys (json: string, now = Date.now): KeySet {
  const { keys: jwks } = JSON.parse(json) as { keys: PrivateJwk[] }
  const keys = jwks.map(toKey)
  const byId = new Map(keys.map((key) => [key.kid, key]))
  const signer = () => {
    const candidates = keys.filter(({ notBefore }) => notBefore * 1000 <= now())
    const newest = candidates.reduce<Key | undefined>((best, key) => best && best.notBefore >= key.notBefore ? best : key, undefined)
    if (!newest) throw new Error('no key of the set may sign yet')
    return newest
  }
  signer()
  return { keys, signer, byId: (kid) => byId.get(kid) }
}

function toKey ({ kty, crv, d, x, nbf = 0 }: PrivateJwk): Key {
  if (kty !== 'OKP' || crv !== 'Ed25519') throw new Error('only Ed25519 keys sign')
  if (!Number.isFinite(nbf)) throw new Error('nbf is no number of seconds')
  const privateKey = createPrivateKey({ key: { kty, crv, d, x }, format: 'jwk' })
  const publicKey = createPublicKey({ key: { kty, crv, x }, format: 'jwk' })
  const probe = Buffer.from('microts')
  if (!verify(null, probe, publicKey, sign(null, probe, privateKey))) throw new Error('the halves of a key do not belong together')
  const kid = thumbprint(x)
  return {
    kid,
    notBefore: nbf,
    privateKey,
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    jwk: { kty, crv, x, kid, alg: 'EdDSA', use: 'sig' }
  }
}

/** RFC 7638, with the members RFC 8037 requires of an OKP key, in lexicographic order. */
function thumbprint (x: string) {
  return createHash('sha256').update(JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x })).digest('base64url')
}

type Source = { read: () => Promise<string>, onChange?: (set: KeySet) => void, onRefusal?: (error: unknown) => void, now?: () => number }

/** The current set. `reread` takes a changed source over; one that is not usable is refused, and the old set stays. */
export function createKeys (first: string, { read, onChange, onRefusal, now = () => performance.now() }: Source) {
  let json = first
  let current = parseKeys(first)
  let lookedUpAt = -Infinity
  let reading: Promise<void> | undefined

  return {
    get current () { return current },
    reread,

    /** The key of this id. One that is not known is looked for in the source, at most every 10 s; who asks meanwhile joins. */
    async find (kid: string) {
      const known = current.byId(kid)
      if (known) return known
      if (now() - lookedUpAt >= READ_EVERY_MS) {
        lookedUpAt = now()
        await reread()
      } else {
        await reading
      }
      return current.byId(kid)
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
      if (next === json) return
      current = parseKeys(next)
      json = next
      onChange?.(current)
    } catch (error) {
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
  const timer = setInterval(keys.reread, READ_EVERY_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'keys', dependencies: ['config'] })

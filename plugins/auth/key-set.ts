import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'

type PublicJwk = { kty: 'OKP', crv: 'Ed25519', x: string, kid: string, alg: 'EdDSA', use: 'sig' }
type PrivateJwk = { kty: string, crv: string, d: string, x: string, iat?: number, nbf?: number }
export type Key = { kid: string, notBefore: number, madeAt: number | undefined, privateKey: KeyObject, publicPem: string, jwk: PublicJwk }

/** A set of keys: all of them verify and are published, one of them signs. */
export interface KeySet {
  keys: readonly Key[]
  /** The newest key whose `nbf` has passed, the first among equals; the earliest, where a clock was put back to before all of them. */
  signer: () => Key
  byId: (kid: string) => Key | undefined
}

/** Reads a JWKS of private keys (RFC 7517, 8037). Throws when it is no such thing, or when none of its keys may sign yet. */
export function parseKeys (json: string, now = Date.now): KeySet {
  const { keys: jwks } = JSON.parse(json) as { keys: PrivateJwk[] }
  const keys = jwks.map(toKey)
  const byId = new Map(keys.map((key) => [key.kid, key]))
  const mayBeUsed = ({ notBefore }: Key) => notBefore * 1000 <= now()
  const signer = () => {
    const candidates = keys.filter(mayBeUsed)
    const newest = candidates.reduce<Key | undefined>((best, key) => best && best.notBefore >= key.notBefore ? best : key, undefined)
    return newest ?? keys.reduce((best, key) => best.notBefore <= key.notBefore ? best : key)
  }
  if (!keys.some(mayBeUsed)) throw new Error('no key of the set may sign yet')
  return { keys, signer, byId: (kid) => byId.get(kid) }
}

function toKey ({ kty, crv, d, x, iat, nbf = 0 }: PrivateJwk): Key {
  if (kty !== 'OKP' || crv !== 'Ed25519') throw new Error('only Ed25519 keys sign')
  if (typeof nbf !== 'number' || Number.isNaN(new Date(nbf * 1000).getTime())) throw new Error('nbf is no time in seconds')
  const privateKey = createPrivateKey({ key: { kty, crv, d, x }, format: 'jwk' })
  const publicKey = createPublicKey(privateKey)
  // Node takes a public half that belongs to another key, or is spelled in another way, which would have another thumbprint.
  if (publicKey.export({ format: 'jwk' }).x !== x) throw new Error('the halves of a key do not belong together')
  const kid = thumbprint(x)
  return {
    kid,
    notBefore: nbf,
    madeAt: typeof iat === 'number' ? iat : undefined,
    privateKey,
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    jwk: { kty, crv, x, kid, alg: 'EdDSA', use: 'sig' }
  }
}

/** RFC 7638, with the members RFC 8037 requires of an OKP key, in lexicographic order. */
function thumbprint (x: string) {
  return createHash('sha256').update(JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x })).digest('base64url')
}

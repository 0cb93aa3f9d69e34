import { createHmac, createSecretKey, hash, timingSafeEqual, type KeyObject } from 'node:crypto'

/** What a refresh token says: which session, the how-manieth token of it, and the session's secret nonce (16 bytes). */
export type RefreshClaim = { sessionId: string, generation: number, nonce: Buffer }

const PREFIX = 'rt1.'
const ID_BYTES = 16
const GENERATION_BYTES = 4
const CLAIM_BYTES = 36
const FORM = /^rt1\.[\w-]{91}$/

/**
 * `rt1.<base64url(sessionId ‖ generation ‖ nonce ‖ HMAC-SHA256(secret, all before))>`.
 * The first secret signs, all of them verify. The token of any generation follows from that of another one, so none is stored.
 */
export function createRefreshTokens (secrets: readonly string[]) {
  const keys = secrets.map((secret) => createSecretKey(secret, 'utf8'))
  const signing = keys[0]!

  return {
    sign ({ sessionId, generation, nonce }: RefreshClaim) {
      const claim = Buffer.alloc(CLAIM_BYTES)
      claim.write(sessionId.replaceAll('-', ''), 0, 'hex')
      claim.writeUInt32BE(generation, ID_BYTES)
      nonce.copy(claim, ID_BYTES + GENERATION_BYTES)
      return PREFIX + Buffer.concat([claim, mac(signing, claim)]).toString('base64url')
    },

    /** The claim of a token that one of the secrets has signed. */
    verify (token: string): RefreshClaim | undefined {
      if (!FORM.test(token)) return undefined
      const text = token.slice(PREFIX.length)
      const bytes = Buffer.from(text, 'base64url')
      if (bytes.toString('base64url') !== text) return undefined
      const [claim, given] = [bytes.subarray(0, CLAIM_BYTES), bytes.subarray(CLAIM_BYTES)]
      if (!keys.some((key) => timingSafeEqual(mac(key, claim), given))) return undefined
      return {
        sessionId: uuidOf(claim.subarray(0, ID_BYTES)),
        generation: claim.readUInt32BE(ID_BYTES),
        nonce: claim.subarray(ID_BYTES + GENERATION_BYTES)
      }
    }
  }
}

function mac (key: KeyObject, claim: Buffer) {
  return createHmac('sha256', key).update(PREFIX).update(claim).digest()
}

function uuidOf (bytes: Buffer) {
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** What the row keeps of a nonce, so that a dump of the database yields no token. */
export function sha256 (nonce: Buffer) {
  return hash('sha256', nonce, 'buffer')
}

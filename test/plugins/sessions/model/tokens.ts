import { createHmac, randomBytes } from 'node:crypto'
import { decodeJwt, forge } from '../../auth/forge.ts'

// Made with node:crypto alone, so that a fault of our own code does not make up for itself.
type Claim = { sessionId: string, generation: number, nonce: Buffer }
export type Pair = { accessToken: string, refreshToken: string }

/** Two that the service knows, and one that it does not. */
export const SECRETS = Array.from({ length: 3 }, () => randomBytes(48).toString('base64url'))
export const FOREIGN_SECRET = 2

export function refreshTokenOf ({ sessionId, generation, nonce }: Claim, secret: number) {
  const head = Buffer.alloc(20)
  head.write(sessionId.replaceAll('-', ''), 'hex')
  head.writeUInt32BE(generation, 16)
  const claim = Buffer.concat([head, nonce])
  const mac = createHmac('sha256', SECRETS[secret]!).update('rt1.').update(claim).digest()
  return `rt1.${Buffer.concat([claim, mac]).toString('base64url')}`
}

export function claimOf ({ accessToken, refreshToken }: Pair): Claim {
  const bytes = Buffer.from(refreshToken.slice(4), 'base64url')
  return { sessionId: String(decodeJwt(accessToken).sid), generation: bytes.readUInt32BE(16), nonce: bytes.subarray(20, 36) }
}

/** The access token that would have been issued so long before. */
export function older (accessToken: string, seconds: number, key: Parameters<typeof forge>[2]) {
  const { iat, exp, ...claims } = decodeJwt(accessToken)
  return forge({ ...claims, iat: Number(iat) - seconds, exp: Number(exp) - seconds }, {}, key)
}

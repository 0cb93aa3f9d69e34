import { isUtf8 } from 'node:buffer'
import { sign as signBytes } from 'node:crypto'
import jwt from '@fastify/jwt'
import fp from 'fastify-plugin'
import { ServiceUnavailable, TokenExpired, Unauthorized } from '../errors.ts'
import { Recent } from './recent.ts'
import type { FastifyRequest } from 'fastify'
import type { Key } from './key-set.ts'

declare module 'fastify' {
  interface FastifyInstance { tokens: Tokens }
}
declare module '@fastify/jwt' {
  interface FastifyJWT { payload: Claims, user: Identity }
}

type Claims = { iss: string, aud: string, sub: string, sid: string, iat: number, exp: number, jti: string }
type Verified = { header: string, identity: Identity, expiresAt: number }

/** Whose request it is, and on which session. */
export type Identity = { id: string, sessionId: string }

interface Tokens {
  /** An access token (RFC 9068) and its life in seconds; a session that ends sooner ends its token. */
  sign: (owner: Identity, sessionSeconds: number) => { accessToken: string, expiresIn: number }
  /** Whose token the request carries, if it has been verified before and still holds. */
  recall: (request: FastifyRequest) => Identity | undefined
  /** Verifies the token of the request; throws Unauthorized or TokenExpired. */
  verify: (request: FastifyRequest) => Promise<Identity>
}

const CACHE_SIZE = 10_000
const END_LENGTH = 32      // of the signature, which tells tokens apart as well as the whole
const SKEW_SECONDS = 30
const MAX_LIFE_SECONDS = 3600
const MAX_TOKEN_LENGTH = 4096
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const REQUIRED = ['iss', 'aud', 'sub', 'sid', 'iat', 'exp', 'jti']

export default fp(async (app) => {
  const { JWT_ISSUER: iss, JWT_AUDIENCE: aud, ACCESS_TOKEN_TTL: ttl } = app.config
  const signers = new WeakMap<Key, (claims: Claims) => string>()
  // By the end of the header as most clients spell it: what comes with a request is a new string, and all of it would be hashed.
  const verified = new Recent<string, Verified>(CACHE_SIZE)
  let verifiedWith = app.keys.current

  await app.register(jwt, {
    secret: { public: async (_: FastifyRequest, token: unknown) => publicKeyOf(token) },
    decode: { complete: true },
    verify: {
      algorithms: ['EdDSA'],
      checkTyp: 'at+jwt',
      allowedIss: iss,
      allowedAud: aud,
      requiredClaims: REQUIRED,
      clockTolerance: SKEW_SECONDS * 1000,
      errorCacheTTL: -1,
      extractToken: bearerOf
    },
    trusted: (request, claims) => isSound(claims as Claims)
  })

  app.decorate('tokens', { sign, recall, verify })

  function sign ({ id, sessionId }: Identity, sessionSeconds: number) {
    const iat = Math.floor(Date.now() / 1000)
    const expiresIn = Math.min(ttl, sessionSeconds)
    const claims: Claims = { iss, aud, sub: id, sid: sessionId, iat, exp: iat + expiresIn, jti: app.nextId() }
    return { accessToken: signerOf(app.keys.current.signer())(claims), expiresIn }
  }

  // @fastify/jwt makes a signer for each call when its keys are functions, and fast-jwt reads the PEM anew for each signature, which takes longer than to sign.
  function signerOf (key: Key) {
    const known = signers.get(key)
    if (known) return known
    const signer = createSigner(key)
    signers.set(key, signer)
    return signer
  }

  function recall (request: FastifyRequest) {
    const known = find(request.headers.authorization) ?? find(headerOf(bearerOf(request)))
    return known && known.expiresAt > Date.now() ? known.identity : undefined
  }

  function find (header: string | undefined) {
    const known = header && cache().get(endOf(header))
    return known && known.header === header ? known : undefined
  }

  // A copy: what is cut out of a header keeps all of it, which may be 16 kB.
  function remember (token: string, identity: Identity, expiresAt: number) {
    const header = Buffer.from(`Bearer ${token}`, 'latin1').toString('latin1')
    cache().set(endOf(header), { header, identity, expiresAt })
  }

  async function verify (request: FastifyRequest) {
    const token = bearerOf(request)
    if (token === undefined) throw new Unauthorized()
    const verifiedBy = app.keys.current
    try {
      const { sub: id, sid: sessionId, exp } = await request.jwtVerify<Claims>()
      const identity = { id, sessionId }
      if (verifiedBy === app.keys.current) remember(token, identity, exp * 1000)
      return identity
    } catch (error) {
      if (error instanceof ServiceUnavailable) throw error
      const hasExpired = (error as { code?: string }).code === 'FST_JWT_AUTHORIZATION_TOKEN_EXPIRED'
      throw hasExpired ? new TokenExpired() : new Unauthorized({ cause: error })
    }
  }

  // A changed set of keys starts with an empty cache, so that a withdrawn key dies at once.
  function cache () {
    if (verifiedWith !== app.keys.current) verified.clear()
    verifiedWith = app.keys.current
    return verified
  }

  // Our tokens have these three headers and no others: no crit, b64, jwk, jku or x5u to be clever with (RFC 8725 section 3).
  async function publicKeyOf (token: unknown) {
    const { header, input, signature } = token as { header: Record<string, unknown>, input: string, signature: string }
    if (!isExact(input, signature)) throw new Unauthorized()
    const { alg, typ, kid, ...others } = header
    if (alg !== 'EdDSA' || typ !== 'at+jwt' || typeof kid !== 'string' || Object.keys(others).length > 0) throw new Unauthorized()
    const key = await app.keys.find(kid)
    if (!key) throw new Unauthorized()
    return key.publicPem
  }
}, { name: 'tokens', dependencies: ['config', 'errors', 'ids', 'keys'] })

/** Signs claims as a JWT in its compact form (RFC 7515 section 7.1, RFC 8037 section 3.1). */
function createSigner ({ kid, privateKey }: Key) {
  const header = encode({ alg: 'EdDSA', typ: 'at+jwt', kid })
  return (claims: Claims) => {
    const input = `${header}.${encode(claims)}`
    return `${input}.${signBytes(null, Buffer.from(input), privateKey).toString('base64url')}`
  }
}

const encode = (json: object) => Buffer.from(JSON.stringify(json)).toString('base64url')

// One entry for each token, however many spaces its header comes with.
const headerOf = (token: string | undefined) => token && `Bearer ${token}`
const endOf = (text: string) => text.slice(-END_LENGTH)

function bearerOf ({ headers: { authorization } }: FastifyRequest) {
  const token = authorization?.match(/^Bearer +([\w.-]+) *$/i)?.[1]
  return token && token.length <= MAX_TOKEN_LENGTH ? token : undefined
}

// Node's decoder is lenient, but a token has one spelling and its JSON is UTF-8 (RFC 7515 section 2, RFC 7519 section 7.2).
function isExact (input: string, signature: string) {
  const json = input.split('.').map((part) => Buffer.from(part, 'base64url'))
  const spelling = [...json, Buffer.from(signature, 'base64url')].map((bytes) => bytes.toString('base64url')).join('.')
  return spelling === `${input}.${signature}` && json.every((bytes) => isUtf8(bytes))
}

/** What fast-jwt lets pass: identifiers that are no strings, tokens from the future, lives that are too long. */
function isSound ({ sub, sid, aud, jti, iat, exp }: Claims) {
  return [sub, sid].every((id) => typeof id === 'string' && UUID.test(id)) &&
    [aud, jti].every((claim) => typeof claim === 'string') &&
    Number.isFinite(iat) && iat <= Date.now() / 1000 + SKEW_SECONDS &&
    Number.isFinite(exp) && exp - iat <= MAX_LIFE_SECONDS
}

import { createHash, createPrivateKey, generateKeyPairSync, sign, type JsonWebKey } from 'node:crypto'
import { bearer, settings } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

// Made with node:crypto alone, so that a fault of our own code does not make up for itself.
type Jwk = JsonWebKey & { x: string, nbf?: number }

/** The private key that signs in tests. */
export const jwk: Jwk = JSON.parse(settings.JWT_KEYS ?? '').keys[0]

export const makeKey = (more: { nbf?: number } = {}): Jwk => ({ ...generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }) as Jwk, ...more })
export const kidOf = ({ x }: Jwk) => createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url')

export const setOf = (...keys: object[]) => JSON.stringify({ keys })

const [one, two] = [makeKey(), makeKey()]
export const unusableSets: [why: string, json: string][] = [
  ['nothing', ''], ['no JSON', '{"keys":['], ['null', 'null'], ['no keys', '{}'], ['keys that are no list', '{"keys":{}}'], ['an empty list', setOf()], ['a null', '{"keys":[null]}'], ['a key of another type', setOf({ ...one, kty: 'RSA' })],
  ['another curve', setOf({ ...one, crv: 'Ed448' })], ['a public key', setOf({ ...one, d: undefined })], ['no public half', setOf({ ...one, x: undefined })], ['a short key', setOf({ ...one, d: 'AAAA' })], ['halves of two keys', setOf({ ...one, x: two.x })], ['a padded public half', setOf({ ...one, x: `${one.x}=` })],
  ['one bad key among good ones', setOf(one, { ...two, d: 'x' })], ['nbf that is no number', setOf({ ...one, nbf: '0' })], ['nbf null', setOf({ ...one, nbf: null })], ['nbf beyond all calendars', setOf(one, { ...two, nbf: 1e300 })], ['no key that may sign yet', setOf({ ...one, nbf: 4e9 })]
]

export const encode = (part: unknown) => Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url')
export const decodeJwt = (token: string, part = 1): Record<string, unknown> => JSON.parse(Buffer.from(token.split('.')[part] ?? '', 'base64url').toString())

/** The input with an Ed25519 signature. */
export const signed = (input: string, key: JsonWebKey = jwk) => `${input}.${sign(null, Buffer.from(input), createPrivateKey({ key, format: 'jwk' })).toString('base64url')}`

/** A token of ours with this payload; what is undefined in `header` is left out. */
export const forge = (payload: unknown, header: object = {}, key: Jwk = jwk) =>
  signed(`${encode({ alg: 'EdDSA', typ: 'at+jwt', kid: kidOf(key), ...header })}.${encode(payload)}`, key)

export const me = (app: FastifyInstance, token: string) => app.inject({ url: '/me', headers: bearer(token) })

import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'tap'
import { build, signUp } from '../../helper.ts'
import { decodeJwt, encode, forge, jwk, kidOf, makeKey, me, signed } from './forge.ts'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** A service, and the claims of a session that lives there: what is forged from them has one fault only. */
async function start (t: Test) {
  const app = await build(t)
  const { accessToken, refreshToken } = await signUp(app)
  const refuses = async (forged: [why: string, token: string][]) => {
    for (const [why, token] of forged) {
      const response = await me(app, token)
      t.equal(response.statusCode, 401, why)
      t.match(response.headers['www-authenticate'], /^Bearer .*error="invalid_token"/)
      t.equal(response.json().code, 'UNAUTHORIZED', why)
    }
    t.equal((await me(app, forge(decodeJwt(accessToken)))).statusCode, 200, 'without a fault it is let in')
  }
  return { accessToken, refreshToken, refuses, claims: decodeJwt(accessToken), now: Math.floor(Date.now() / 1000) }
}

const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
const attacker = makeKey()
const table = (claims: object, name: string, values: unknown[]): [string, string][] =>
  values.map((value) => [`${name} ${JSON.stringify(value) ?? 'missing'}`.slice(0, 80), forge({ ...claims, [name]: value })])
const raw = (claims: object, name: string, json: string) =>
  forge(JSON.stringify({ ...claims, [name]: 0 }).replace(`"${name}":0`, `"${name}":${json}`))

test('a signature is one of our key over exactly this header and payload, spelled in one way', async (t) => {
  const { accessToken, claims, refuses } = await start(t)
  const [header = '', payload = '', signature = ''] = accessToken.split('.')
  const admin = encode({ ...claims, sub: '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11' })
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const flipped = [...signature].map((character, i): [string, string] =>
    [`bit flipped in character ${i}`, `${header}.${payload}.${signature.slice(0, i)}${alphabet[alphabet.indexOf(character) ^ 1]}${signature.slice(i + 1)}`])
  await refuses([
    ...flipped,
    ['no signature', `${header}.${payload}.`], ['no third part', `${header}.${payload}`], ['one character less', accessToken.slice(0, -1)], ['half of it', `${header}.${payload}.${signature.slice(0, 43)}`],
    ['one character more', `${accessToken}A`], ['zeros', `${header}.${payload}.${'A'.repeat(86)}`], ['padding', `${accessToken}==`], ['twice', `${accessToken}${signature}`],
    ['the same point, and a scalar with the order of the group added', `${header}.${payload}.${withOrderAdded(signature)}`],
    ['another payload', `${header}.${admin}.${signature}`], ['another header', `${encode({ alg: 'EdDSA', typ: 'at+jwt', kid: kidOf(jwk), x: 1 })}.${payload}.${signature}`],
    ['a signature of another token', `${header}.${payload}.${forge(claims, { kid: undefined }).split('.')[2]}`],
    ['another key, our kid', forge(claims, { kid: kidOf(jwk) }, attacker)], ['another key, its kid', forge(claims, {}, attacker)]
  ])
})

/** An equation that holds for s holds for s + L as well, which is why RFC 8032 section 5.1.7 bounds s. */
function withOrderAdded (signature: string) {
  const bytes = Buffer.from(signature, 'base64url')
  const scalar = BigInt(`0x${Buffer.from(bytes.subarray(32)).reverse().toString('hex')}`) + 2n ** 252n + 27742317777372353535851937790883648493n
  return Buffer.concat([bytes.subarray(0, 32), Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex').reverse()]).toString('base64url')
}

test('the key decides the algorithm, not the header', async (t) => {
  const { claims, refuses } = await start(t)
  const inputOf = (alg: unknown) => `${encode({ alg, typ: 'at+jwt', kid: kidOf(jwk) })}.${encode(claims)}`
  const hmac = (secret: string | Buffer) => `${inputOf('HS256')}.${createHmac('sha256', secret).update(inputOf('HS256')).digest('base64url')}`
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const publicJwk = publicKey.export({ format: 'jwk' })
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const by = (alg: string, key: typeof rsa) => `${inputOf(alg)}.${sign(alg === 'RS256' || alg === 'ES256' ? 'sha256' : null, Buffer.from(inputOf(alg)), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  await refuses([
    ...['none', 'None', 'NONE', 'nOnE', '', ' none', null, ['none'], 0].flatMap((alg): [string, string][] => [[`alg ${JSON.stringify(alg)}, no signature`, `${inputOf(alg)}.`], [`alg ${JSON.stringify(alg)}, signed`, signed(inputOf(alg))]]),
    ...[pem, pem.trim(), `\n ${pem}`, `\ufeff${pem}`, `# a comment\n${pem}`, publicKey.export({ type: 'spki', format: 'der' }), JSON.stringify({ keys: [publicJwk] }), JSON.stringify(publicJwk), Buffer.from(jwk.x, 'base64url'), jwk.x, '']
      .map((secret, i): [string, string] => [`HS256 with a secret that is public, ${i}`, hmac(secret)]),
    ['RS256', by('RS256', rsa)], ['ES256', by('ES256', ec)], ['EdDSA on another curve', by('EdDSA', generateKeyPairSync('ed448').privateKey)],
    ...['Ed25519', 'eddsa', 'EDDSA', 'HS256', 'ES256', ['EdDSA'], undefined].map((alg): [string, string] => [`alg ${alg} over a signature of ours`, forge(claims, { alg })])
  ])
})

test('headers that point to a key are refused, and nobody asks there', async (t) => {
  const { claims, refuses } = await start(t)
  let requests = 0
  const server = createServer((_, response) => {
    requests++
    response.end(JSON.stringify({ keys: [attacker] }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
  const { d, ...attackerJwk } = attacker
  const pointers = { jwk: attackerJwk, jku: url, x5u: url, x5c: ['MIIB'], x5t: 'x', 'x5t#S256': 'x' }
  await refuses(Object.entries(pointers).flatMap(([name, value]): [string, string][] => [
    [`${name}, signed by the attacker`, forge(claims, { [name]: value }, attacker)],
    [`${name} and our kid, signed by the attacker`, forge(claims, { [name]: value, kid: kidOf(jwk) }, attacker)],
    [`${name}, signed by us`, forge(claims, { [name]: value })]
  ]).concat([['kid is a URL', forge(claims, { kid: url }, attacker)]]))
  t.equal(requests, 0)
})

test('a header has alg, typ and kid of the right kind, and no more', async (t) => {
  const { claims, refuses } = await start(t)
  const cases: [name: string, values: unknown[]][] = [
    ['crit', [['x'], [], ['exp', 'exp'], null, ['alg'], 'exp', [1], {}, ['b64'], ['typ', 'kid']]], ['b64', [true, false, null]], ['cty', ['JWT']], ['zip', ['DEF']], ['enc', ['A256GCM']], ['__proto__', [{}]],
    ['kid', [undefined, null, 1, {}, [kidOf(jwk)], '', 'unknown', kidOf(attacker), `${kidOf(jwk)} `, kidOf(jwk).toLowerCase(), 'x'.repeat(10_000), 'x'.repeat(2000), '../../etc/passwd', '/dev/null', "' or 1=1; drop table users; --", '__proto__', 'constructor', '\u0000']],
    ['typ', [undefined, null, 1, ['at+jwt'], '', 'JWT', 'jwt', 'AT+JWT', 'at+JWT', 'application/at+jwt', 'refresh+jwt', 'mfa+jwt', 'at+jwt ']]
  ]
  const unencoded = `${encode({ alg: 'EdDSA', typ: 'at+jwt', kid: kidOf(jwk), b64: false, crit: ['b64'] })}.${JSON.stringify(claims)}`
  await refuses([
    ...cases.flatMap(([name, values]) => values.map((value): [string, string] => [`${name} ${JSON.stringify(value)}`.slice(0, 80), forge(claims, Object.fromEntries([[name, value]]))])),
    ...['[]', 'null', '"x"', '1', 'true', '{', '', '{"alg":"EdDSA"}x'].map((header): [string, string] => [`header ${header}`, signed(`${encode(header)}.${encode(claims)}`)]),
    ['an unencoded payload', signed(unencoded)]
  ])
})

test('every claim is there, of the right type and value', async (t) => {
  const { claims, now, refuses } = await start(t)
  const { iss, aud, sub, sid, jti } = claims as Record<string, string>
  await refuses([
    ...table(claims, 'iss', [undefined, null, 1, {}, '', [iss], [iss, 'x'], `${iss}/`, ` ${iss}`, `${iss}.evil.example`, iss!.toUpperCase(), 'https://evil.example']),
    ...table(claims, 'aud', [undefined, null, 1, {}, '', [], [aud], [aud, 'x'], `${aud} `, 'MICROTS', 'another-service']),
    ...table(claims, 'sub', [undefined, null, 1, {}, '', [sub], [sub, sub], 'admin', `${sub} `, `${sub}'--`, sub!.toUpperCase(), sub!.replaceAll('-', '')]),
    ...table(claims, 'sid', [undefined, null, 1, {}, '', [sid], 'x', `${sid}\n`, `{${sid}}`, sid!.toUpperCase()]),
    ...table(claims, 'jti', [undefined, null, 1, {}, [jti]]),
    ...table(claims, 'exp', [undefined, null, '', String(now + 60), [now + 60], {}, true, now + 3600 * 24, 1e300, Number(claims.iat) + 3601]),
    ...table(claims, 'iat', [undefined, null, '', String(now), [now], {}, now + 40, 1e300, now - 3600]),
    ...table(claims, 'nbf', [null, '', String(now), [now], {}, now + 40, 1e300]),
    ...['1e400', 'NaN', 'Infinity', '"NaN"', '"1e400"'].flatMap((json): [string, string][] => ['exp', 'iat', 'nbf'].map((name) => [`${name} ${json}`, raw(claims, name, json)])),
    ['exp 1e400 and iat 1e400', raw({ ...claims, iat: undefined }, 'exp', '1e400,"iat":1e400')]
  ])
})

test('a token is three parts of JSON in UTF-8, in base64url, of no more than 4 kB', async (t) => {
  const { accessToken, refreshToken, claims, refuses } = await start(t)
  const [header = '', payload = '', signature = ''] = accessToken.split('.')
  const latin1 = Buffer.from(JSON.stringify({ ...claims, name: '\u00e9' }), 'latin1').toString('base64url')
  const large = { ...claims, name: 'x'.repeat(4096) }
  await refuses([
    ...['[]', 'null', '"x"', '1', 'true', '', '{', `[${JSON.stringify(claims)}]`, `${JSON.stringify(claims)}x`, `\ufeff${JSON.stringify(claims)}`].map((text): [string, string] => [`payload ${text.slice(0, 20)}`, forge(text)]),
    ['invalid UTF-8', signed(`${header}.${latin1}`)], ['larger than 4 kB', forge(large)],
    ['an encrypted token', `${header}.${payload}.${signature}.${signature}.${signature}`], ['four parts', `${accessToken}.${signature}`], ['one part', header], ['empty parts', '..'], ['dots', '.....'], ['no header', `.${payload}.${signature}`],
    ['padding in the payload', signed(`${header}.${payload}=`)], ['unused bits', signed(`${header}.${Buffer.from(`${JSON.stringify(claims)} `.padEnd(400)).toString('base64url').slice(0, -1)}B`)],
    ['the alphabet of base64', signed(`${header}.${Buffer.from(JSON.stringify({ ...claims, name: '\u00ff\u00bf?>\u00fb\u00ff' })).toString('base64')}`)],
    ['a refresh token', refreshToken], ['the claim of a refresh token', refreshToken.slice(4)], ['not even a token', 'x'.repeat(4096)]
  ])
})

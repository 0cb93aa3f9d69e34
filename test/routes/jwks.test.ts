import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import { test } from 'tap'
import { build, databaseUrl, settings, signUp } from '../helper.ts'
import { startProxy } from '../proxy.ts'

const JWKS = '/.well-known/jwks.json'

test('the public halves of all keys are published, and may be cached for five minutes', async (t) => {
  const { privateKey } = generateKeyPairSync('ed25519')
  const [first] = JSON.parse(settings.JWT_KEYS!).keys
  const second = privateKey.export({ format: 'jwk' })
  const app = await build(t, { JWT_KEYS: JSON.stringify({ keys: [first, second] }) })
  const response = await app.inject(JWKS)

  t.equal(response.statusCode, 200)
  t.match(response.headers['content-type'], /^application\/json/)
  t.equal(response.headers['cache-control'], 'public, max-age=300')
  const { keys, ...rest } = response.json()
  t.same(rest, {})
  t.same(keys.map(({ kid, ...key }: { kid: string }) => key), [first, second].map(({ x }) => ({ kty: 'OKP', crv: 'Ed25519', x, alg: 'EdDSA', use: 'sig' })))
  for (const { kid } of keys) t.match(kid, /^[\w-]{43}$/, 'a thumbprint')
  for (const { d } of [first, second]) t.notMatch(response.body, d, 'no private half')
})

test('an access token is verified by the key that it names', async (t) => {
  const app = await build(t)
  const { accessToken } = await signUp(app)
  const { keys } = (await app.inject(JWKS)).json()
  const [header = '', claims = '', signature = ''] = accessToken.split('.')
  const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString())
  const key = keys.find((key: { kid: string }) => key.kid === kid)

  t.ok(verify(null, Buffer.from(`${header}.${claims}`), createPublicKey({ key, format: 'jwk' }), Buffer.from(signature, 'base64url')))
})

test('who has them already gets no body, until they change', async (t) => {
  const app = await build(t)
  const { etag } = (await app.inject(JWKS)).headers
  t.match(etag, /^"[\w-]+"$/)
  const ask = (value: string) => app.inject({ url: JWKS, headers: { 'if-none-match': value } })
  for (const value of [etag!, `"other", ${etag}`, `W/${etag}`, '*']) {
    const response = await ask(value)
    t.equal(response.statusCode, 304, value)
    t.equal(response.body, '')
    t.equal(response.headers.etag, etag)
    t.equal(response.headers['cache-control'], 'public, max-age=300')
  }
  t.equal((await ask('"other"')).statusCode, 200)

  const { privateKey } = generateKeyPairSync('ed25519')
  const other = await build(t, { JWT_KEYS: JSON.stringify({ keys: [privateKey.export({ format: 'jwk' })] }) })
  t.not((await other.inject(JWKS)).headers.etag, etag)
})

test('keys are published while the database is away', async (t) => {
  const proxy = await startProxy(t, databaseUrl)
  const app = await build(t, { DATABASE_URL: proxy.url })
  await proxy.set('refuse')
  t.equal((await app.inject(JWKS)).statusCode, 200)
})

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { mock } from 'node:test'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { bearer, build, logIn, settings, signUp } from '../../helper.ts'
import { isProblem } from '../../problem.ts'
import { run } from '../../processes.ts'
import { decodeJwt, forge, jwk, kidOf, makeKey, me, setOf, unusableSets } from './forge.ts'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Test } from 'tap'

const [one, two, three] = [makeKey(), makeKey(), makeKey()]
const recall = (app: FastifyInstance, token: string) => app.tokens.recall({ headers: bearer(token) } as FastifyRequest)

/** A service whose keys are in a file, which is replaced as a whole, as Kubernetes does. */
async function start (t: Test, ...keys: object[]) {
  const folder = mkdtempSync(join(tmpdir(), 'microts-keys-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'keys.json')
  const lines: string[] = []
  const write = (text: string) => {
    writeFileSync(`${file}.next`, text)
    renameSync(`${file}.next`, file)
  }
  write(setOf(...keys))
  const app = await build(t, { JWT_KEYS: undefined, JWT_KEYS_FILE: file, LOG_LEVEL: 'info' }, { stream: { write: (line) => lines.push(line) } })
  return { app, file, write, logged: (level: number) => lines.map((line) => JSON.parse(line)).filter((line) => line.level === level && 'msg' in line) }
}

test('a changed set is taken over by its content; one that is not usable is refused and logged, and the old one stays', async (t) => {
  const { app, file, write, logged } = await start(t, one)
  const before = app.keys.current
  await app.keys.reread()
  t.equal(app.keys.current, before, 'the same content changes nothing')

  for (const [why, json] of unusableSets) {
    write(json)
    await app.keys.reread()
    t.equal(app.keys.current, before, why)
  }
  rmSync(file)
  await app.keys.reread()
  t.equal(app.keys.current, before, 'no file')
  write(setOf(one).replace(`"${one.d}"`, `x${one.d}`))
  await app.keys.reread()
  t.equal(logged(50).length, unusableSets.length + 2)
  for (const line of logged(50)) t.match(line, { msg: 'changed signing keys are not usable, the old ones stay' })
  t.notOk(JSON.stringify(logged(50)).includes(one.d!.slice(0, 6)), 'not even the beginning of a key is in the log')
  const { accessToken } = await signUp(app)
  t.equal((await me(app, accessToken)).statusCode, 200)

  write(setOf(two, one))
  await app.keys.reread()
  t.same(app.keys.current.keys.map(({ kid }) => kid), [two, one].map(kidOf))
  t.match(logged(30).filter(({ kids }) => kids), [{ msg: 'signing keys changed', kids: [two, one].map(kidOf) }])
  t.equal((await me(app, accessToken)).statusCode, 200)
})

test('while the set is not usable, a token of a key that may be in it is trouble of ours', async (t) => {
  const { app, file, write } = await start(t, one)
  const { accessToken } = await signUp(app)
  const ofNext = forge(decodeJwt(accessToken), {}, two)
  const left = async () => Number(String((await app.inject('/api')).headers.ratelimit).match(/^"address";r=(\d+)/)?.[1])
  const before = await left()
  rmSync(file)
  for (let i = 0; i < 3; i++) isProblem(t, await me(app, ofNext), 503, 'SERVICE_UNAVAILABLE')
  t.equal(await left(), before - 1, 'which costs the address nothing')
  t.equal((await me(app, accessToken)).statusCode, 200)
  write(setOf(two, one))
  await app.keys.reread()
  t.equal((await me(app, ofNext)).statusCode, 200)
  t.equal((await me(app, forge(decodeJwt(accessToken), {}, three))).statusCode, 401)
})

test('a withdrawn key dies at once, also for tokens that were verified before', async (t) => {
  const { app, write } = await start(t, one, two)
  const { accessToken, email } = await signUp(app)
  t.equal(decodeJwt(accessToken, 0).kid, kidOf(one))
  const kept = forge(decodeJwt(accessToken), {}, two)
  for (const token of [accessToken, kept]) {
    t.equal((await me(app, token)).statusCode, 200)
    t.ok(recall(app, token))
  }

  write(setOf(two))
  await app.keys.reread()
  for (const token of [accessToken, kept]) t.equal(recall(app, token), undefined, 'a changed set starts with nothing remembered')
  t.equal((await me(app, accessToken)).statusCode, 401)
  t.equal((await me(app, kept)).statusCode, 200)
  t.equal(decodeJwt((await logIn(app, email)).accessToken, 0).kid, kidOf(two))
})

test('a key that comes later does not sign, but verifies and is published', async (t) => {
  const later = makeKey({ nbf: Math.floor(Date.now() / 1000) + 600 })
  const { app } = await start(t, one, later)
  const { accessToken } = await signUp(app)
  t.equal(decodeJwt(accessToken, 0).kid, kidOf(one))
  t.equal((await me(app, forge(decodeJwt(accessToken), {}, later))).statusCode, 200)
  t.same((await app.inject('/.well-known/jwks.json')).json().keys.map(({ kid }: { kid: string }) => kid), [kidOf(one), kidOf(later)])
})

test('a token of a key that is new in the file is let in at once, and many of them cost one read', async (t) => {
  const { app, write } = await start(t, one)
  const { accessToken } = await signUp(app)
  const fresh = forge(decodeJwt(accessToken), {}, two)
  write(setOf(one, two))

  const answers = await Promise.all(Array.from({ length: 20 }, () => me(app, fresh)))
  t.same(new Set(answers.map(({ statusCode }) => statusCode)), new Set([200]))
  t.equal(recall(app, fresh), undefined, 'what was verified while the set changed is not remembered with the new one')
  t.equal((await me(app, fresh)).statusCode, 200)
  t.ok(recall(app, fresh))

  write(setOf(one, two, three))
  t.equal((await me(app, forge(decodeJwt(accessToken), {}, three))).statusCode, 401, 'within 10 s it is not read again for another one')
})

test('the public keys are published, cacheable, and public only', async (t) => {
  const { app, write } = await start(t, { ...one, kid: 'chosen', use: 'enc', alg: 'none', extra: 'secret' }, two)
  const ask = (headers = {}) => app.inject({ url: '/.well-known/jwks.json', headers })
  const response = await ask()
  t.equal(response.statusCode, 200)
  t.same(response.json(), { keys: [one, two].map((key) => ({ kty: 'OKP', crv: 'Ed25519', x: key.x, kid: kidOf(key), alg: 'EdDSA', use: 'sig' })) })
  t.match(response.headers, { 'cache-control': 'public, max-age=300', 'content-type': /^application\/json/, etag: /^"[\w-]+"$/ })
  const etag = String(response.headers.etag)
  t.match(await ask({ 'if-none-match': etag }), { statusCode: 304, body: '', headers: { etag, 'cache-control': 'public, max-age=300' } })

  write(setOf(two))
  await app.keys.reread()
  const changed = await ask({ 'if-none-match': etag })
  t.equal(changed.statusCode, 200)
  t.not(changed.headers.etag, etag)
  t.match((await (await build(t)).inject('/.well-known/jwks.json')).json(), { keys: [{ kid: kidOf(jwk) }] }, 'those of JWT_KEYS too')
})

test('the file is read every 10 seconds', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { app, write } = await start(t, one)
  const before = app.keys.current
  write(setOf(two))
  mock.timers.tick(9999)
  await turn()
  t.equal(app.keys.current, before)
  mock.timers.tick(1)
  while (app.keys.current === before) await turn()
  t.equal(app.keys.current.signer().kid, kidOf(two))
})

test('a start whose keys cannot sign ends with a sentence, which quotes nothing', async (t) => {
  const cut = setOf(one).slice(0, -10)
  const { code, stdout, stderr } = await run(t, 'server.ts', [], { ...settings, JWT_KEYS: cut })
  t.same([code, stdout, stderr], [1, '', 'The settings are not usable:\n  - JWT_KEYS is not a JWKS of Ed25519 private keys, one of which may sign\n'])
})

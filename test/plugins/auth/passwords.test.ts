import { test } from 'tap'
import { dictionary } from '@zxcvbn-ts/language-common'
import { createPasswords } from '../../../plugins/auth/passwords.ts'
import { createSlots } from '../../../plugins/slots.ts'
import { canonicalEmail, localPartOf } from '../../../plugins/users/email.ts'
import { countHashes } from '../../count-hashes.ts'
import { build, logIn, PASSWORD, post, signUp, sql } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

const COSTS = { PASSWORD_MIN_LENGTH: 8, ARGON2_MEMORY: 64, ARGON2_TIME: 1, ARGON2_PARALLELISM: 1, HASH_CONCURRENCY: 2, HASH_QUEUE_TIMEOUT: 60_000 }

const withoutDeadline = (count: number) => createSlots(count, () => undefined)
const register = (app: FastifyInstance, email: string, password: string) => post(app, '/auth/register', { email, password })
const logInStatus = async (app: FastifyInstance, email: string, password: string) => (await post(app, '/auth/login', { email, password })).statusCode
const change = (app: FastifyInstance, headers: Record<string, string>, newPassword: string, currentPassword = PASSWORD) =>
  app.inject({ method: 'PUT', url: '/me/password', headers, payload: { currentPassword, newPassword } })
const hashOf = async (email: string) => (await sql<{ hash: string }>('select password_hash as hash from users where email = $1', [email]))[0]!.hash

// Digits that stand in no list: the pi of a keyboard.
const DIGITS = '92653589793238462643'

test('a new password is refused with a reason and its place, before any hash, at registration and at change', async (t) => {
  const cases: [code: string, password: string][] = [
    ['PASSWORD_TOO_SHORT', ''], ['PASSWORD_TOO_SHORT', 'a'], ['PASSWORD_TOO_SHORT', DIGITS.slice(0, 7)], ['PASSWORD_TOO_SHORT', '🗝'.repeat(7)],
    ['PASSWORD_TOO_LONG', DIGITS.repeat(7).slice(0, 129)], ['PASSWORD_TOO_LONG', '🗝'.repeat(129)], ['PASSWORD_TOO_LONG', 'x'.repeat(5000)],
    ['PASSWORD_COMMON', '12345678'], ['PASSWORD_COMMON', 'qwertyuiop'], ['PASSWORD_COMMON', 'iloveyou'], ['PASSWORD_COMMON', 'PassWord1'], ['PASSWORD_COMMON', 'ｐａｓｓｗｏｒｄ'],
    ['PASSWORD_COMMON', 'my microts login'], ['PASSWORD_COMMON', 'MicroTS-2026-x'],
    ['PASSWORD_COMMON', 'x-lovelace-x'], ['PASSWORD_COMMON', 'LOVELACE1815'], ['PASSWORD_COMMON', 'ｌｏｖｅｌａｃｅ-1815']
  ]
  const app = await build(t)
  const { headers } = await signUp(app, 'lovelace@example.com')
  for (const [code, password] of cases) {
    for (const [pointer, ask] of [['/password', () => register(app, 'lovelace@example.org', password)], ['/newPassword', () => change(app, headers, password)]] as const) {
      const hashes = await countHashes(async () => {
        const response = await ask()
        t.equal(response.statusCode, 400, `${code} ${password}`)
        t.match(response.json(), { code, errors: [{ pointer, code, message: String }] })
        t.notOk(password.length > 6 && JSON.stringify(response.json().errors).includes(password))
      })
      t.equal(hashes, 0)
    }
  }
  t.same(await sql("select id from users where email = 'lovelace@example.org'"), [])
})

test('of a password that is far too long no more is put into order than shows that', async (t) => {
  const app = await build(t)
  const { headers, email } = await signUp(app)
  const evil = `a${'\u0344'.repeat(2400)}${'\u0334'.repeat(2400)}`
  const calls = t.capture(String.prototype, 'normalize', String.prototype.normalize)
  const answers = [await register(app, 'x@example.com', evil), await change(app, headers, evil), await change(app, headers, PASSWORD + 1, evil), await post(app, '/auth/login', { email, password: evil })]
  t.same(answers.map((answer) => answer.json().code), ['PASSWORD_TOO_LONG', 'PASSWORD_TOO_LONG', 'INVALID_CREDENTIALS', 'INVALID_CREDENTIALS'])
  t.equal(Math.max(...calls().map(({ receiver }) => String(receiver).length)), 1025)
})

test('NUL and lone surrogates are refused, since they would make different passwords equal', async (t) => {
  const app = await build(t)
  const { headers, email } = await signUp(app)
  for (const password of ['good enough\u0000 but', 'good enough\ud800 but', '\udc00good enough but', 'good\udc00\ud800 enough']) {
    const escaped = JSON.stringify(password)
    const answers = [
      await app.inject({ method: 'POST', url: '/auth/register', headers: { 'content-type': 'application/json' }, payload: `{"email":"x@example.com","password":${escaped}}` }),
      await app.inject({ method: 'POST', url: '/auth/login', headers: { 'content-type': 'application/json' }, payload: `{"email":"${email}","password":${escaped}}` }),
      await app.inject({ method: 'PUT', url: '/me/password', headers: { ...headers, 'content-type': 'application/json' }, payload: `{"currentPassword":"${PASSWORD}","newPassword":${escaped}}` })
    ]
    for (const answer of answers) t.match(answer.json(), { status: 400, code: 'VALIDATION_ERROR' }, escaped)
  }
})

test('the 3 000 most common passwords that are long enough are refused, in any case', async (t) => {
  const passwords = await createPasswords(COSTS, withoutDeadline)
  const common = dictionary['passwords-common'].filter((password) => password.length >= 8).slice(0, 3000)
  t.equal(common.length, 3000)
  const accepted = common.flatMap((password) => [password, password.toUpperCase()]).filter((password) => {
    try {
      passwords.check(password, { localPart: 'nobody', pointer: '/password' })
      return true
    } catch (error) {
      return (error as { code: string }).code !== 'PASSWORD_COMMON'
    }
  })
  t.same(accepted, [])
})

test('a sigma of the address is one in the password, whichever it is', async (t) => {
  const passwords = await createPasswords(COSTS, withoutDeadline)
  const localPart = localPartOf(canonicalEmail('νικος@example.com'))
  for (const password of ['νικος-2024!', 'ΝΙΚΟΣ-2024!', 'νικοσ-2024!']) {
    t.throws(() => passwords.check(password, { localPart, pointer: '/password' }), { code: 'PASSWORD_COMMON' }, password)
  }
})

test('there are no other rules: digits, lower case, spaces and any script will do, and 64 or 128 characters', async (t) => {
  const app = await build(t)
  const cases: [email: string, password: string][] = [
    ['a@example.com', DIGITS.slice(0, 8)], ['b@example.com', DIGITS], ['c@example.com', 'lowercaseonlybutlong'], ['d@example.com', '        .       '],
    ['e@example.com', DIGITS.repeat(4).slice(0, 64)], ['f@example.com', DIGITS.repeat(7).slice(0, 128)], ['g@example.com', '🗝'.repeat(8)], ['h@example.com', '🗝'.repeat(128)],
    ['i@example.com', 'пароль на завтра'], ['ada@example.com', 'I am ada, by the way'], ['j@example.com', "'; drop table users; --"]
  ]
  for (const [email, password] of cases) {
    t.equal((await register(app, email, password)).statusCode, 201, password)
    t.equal(await logInStatus(app, email, password), 200, password)
  }
})

test('a longer minimum is a setting', async (t) => {
  const app = await build(t, { PASSWORD_MIN_LENGTH: '15' })
  t.match((await register(app, 'a@example.net', DIGITS.slice(0, 14))).json(), { code: 'PASSWORD_TOO_SHORT', detail: /15/ })
  t.equal((await register(app, 'a@example.net', DIGITS.slice(0, 15))).statusCode, 201)
})

test('every character counts: the last one, case, and spaces around', async (t) => {
  const app = await build(t)
  const long = 'a rather long sentence, '.repeat(5).slice(0, 99)
  const cases: [right: string, wrong: string[]][] = [
    [`${long}1`, [`${long}2`, long]], [`${DIGITS.repeat(6)}1234567x`, [`${DIGITS.repeat(6)}1234567y`]],
    ['  spaces around  ', ['spaces around', '  spaces around', 'spaces around  ']], ['Mixed Case Words', ['mixed case words', 'MIXED CASE WORDS']]
  ]
  for (const [i, [right, wrong]] of cases.entries()) {
    const email = `exact${i}@example.com`
    t.equal((await register(app, email, right)).statusCode, 201)
    t.equal(await logInStatus(app, email, right), 200, right)
    for (const password of wrong) t.equal(await logInStatus(app, email, password), 401, password)
  }
})

test('composed, decomposed and compatible spellings are one password', async (t) => {
  const app = await build(t)
  const spellings = ['caf\u00e9 \u212bngstr\u00f6m \ufb01n', 'cafe\u0301 A\u030angstro\u0308m fin', 'cafe\u0301 \u00c5ngstr\u00f6m \ufb01n']
  for (const [i, spelling] of spellings.entries()) {
    await register(app, `form${i}@example.com`, spelling)
    for (const other of spellings) t.equal(await logInStatus(app, `form${i}@example.com`, other), 200)
  }
  t.match((await register(app, 'form@example.com', 'e\u0301'.repeat(7))).json(), { code: 'PASSWORD_TOO_SHORT' }, '14 code points, but 7 characters')
})

test('what is stored is argon2id with the parameters of the settings and a salt of its own', async (t) => {
  const app = await build(t, { ARGON2_MEMORY: undefined, ARGON2_TIME: undefined })
  const [one, other] = [await signUp(app), await signUp(app)]
  const hashes = [await hashOf(one.email), await hashOf(other.email)]
  for (const hash of hashes) t.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/, 'the defaults')
  t.not(hashes[0]!.split('$')[4], hashes[1]!.split('$')[4])
  t.not(hashes[0], hashes[1])
  t.ok((await logIn(app, one.email)).accessToken)
})

test('an account that does not exist costs one verification, like one that does', async (t) => {
  const app = await build(t)
  const { email } = await signUp(app)
  const disabled = await signUp(app)
  await sql('update users set disabled_at = now() where email = $1', [disabled.email])
  for (const [account, password] of [[email, 'wrong'], ['nobody@example.com', 'wrong'], [disabled.email, 'wrong'], [disabled.email, PASSWORD]] as const) {
    t.equal(await countHashes(async () => t.equal(await logInStatus(app, account, password), 401)), 1, account)
  }
  t.equal(await countHashes(() => logIn(app, email)), 1)
  t.equal(await countHashes(() => register(app, email, PASSWORD)), 1, 'and a registration one hash, whether the address is taken')
  t.equal(await countHashes(() => signUp(app)), 1)
})

test('nothing is the password of an account that does not exist', async (t) => {
  const passwords = await createPasswords(COSTS, withoutDeadline)
  const hash = await passwords.hash(PASSWORD)
  t.same([await passwords.verify(hash, PASSWORD), await passwords.verify(hash, 'wrong'), await passwords.verify(undefined, PASSWORD)], [true, false, false])
})

import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { createPasswords } from '../../../plugins/auth/passwords.ts'
import { createSlots } from '../../../plugins/slots.ts'
import { build, logIn, PASSWORD, post, signUp, sql } from '../../helper.ts'

const hashOf = async (email: string) => (await sql<{ hash: string }>('select password_hash as hash from users where email = $1', [email]))[0]!.hash
const CHEAP = { ARGON2_MEMORY: '64', ARGON2_TIME: '1' }
const withoutDeadline = (count: number) => createSlots(count, () => undefined)
const DEAR = { ARGON2_MEMORY: '128', ARGON2_TIME: '2' }

test('a hash of lesser parameters is replaced at the next login, and another login leaves it alone', async (t) => {
  const [before, after] = [await build(t, CHEAP), await build(t, DEAR)]
  const { email } = await signUp(before)
  t.match(await hashOf(email), /\$m=64,t=1,p=1\$/)

  t.equal((await post(after, '/auth/login', { email, password: 'wrong' })).statusCode, 401)
  t.match(await hashOf(email), /\$m=64,t=1,p=1\$/, 'a failed login replaces nothing')
  await logIn(after, email)
  const replaced = await hashOf(email)
  t.match(replaced, /\$m=128,t=2,p=1\$/)
  await logIn(after, email)
  await logIn(before, email)
  t.equal(await hashOf(email), replaced, 'neither the same nor lesser parameters replace it')
})

test('each parameter makes a hash outdated, in whatever order they stand', async (t) => {
  const passwords = await createPasswords({ PASSWORD_MIN_LENGTH: 8, ARGON2_MEMORY: 64, ARGON2_TIME: 2, ARGON2_PARALLELISM: 2, HASH_CONCURRENCY: 1, HASH_QUEUE_TIMEOUT: 1000 }, withoutDeadline)
  const cases: [parameters: string, isOutdated: boolean][] = [
    ['m=64,t=2,p=2', false], ['m=64,p=2,t=2', false], ['m=128,t=3,p=4', false], ['m=63,t=2,p=2', true], ['m=64,t=1,p=2', true], ['m=64,t=2,p=1', true], ['m=64,p=4,t=1', true], ['m=32,t=9,p=2', true]
  ]
  for (const [parameters, isOutdated] of cases) t.equal(passwords.isOutdated(`$argon2id$v=19$${parameters}$c2FsdA$aGFzaA`), isOutdated, parameters)
  t.notOk(passwords.isOutdated('!'))
})

test('a login does not fail because its hash cannot be replaced', async (t) => {
  const lines: string[] = []
  const before = await build(t, CHEAP)
  const after = await build(t, { ...DEAR, LOG_LEVEL: 'warn' }, { stream: { write: (line) => lines.push(line) } })
  const { email } = await signUp(before)
  const hash = await hashOf(email)
  await sql("alter table users add constraint broken check (password_hash not like '%m=128%') not valid")

  t.ok((await logIn(after, email)).accessToken)
  t.equal(await hashOf(email), hash)
  t.match(lines.join(''), /"msg":"a password could not be rehashed"/)
  t.notMatch(lines.join(''), /argon2id|correct horse/)

  await sql('alter table users drop constraint broken')
  await logIn(after, email)
  t.match(await hashOf(email), /\$m=128,t=2,p=1\$/, 'it is tried again')
})

test('a hash that nobody waits for is left for another time where there is no room, and is not counted as a request refused', async (t) => {
  const slow = { ARGON2_MEMORY: '65536', ARGON2_TIME: '4' }
  const [before, after] = [await build(t, slow), await build(t, { ...slow, ARGON2_TIME: '5', HASH_CONCURRENCY: '1', HASH_QUEUE_TIMEOUT: '105' })]
  const { email } = await signUp(before)
  const hash = await hashOf(email)
  const { gate } = after.passwords
  const free = Promise.withResolvers<void>()
  const login = post(after, '/auth/login', { email, password: PASSWORD })
  while (gate.running === 0) await turn()
  const others = Promise.all([gate.pass(() => free.promise), gate.pass(() => free.promise)])

  t.equal((await login).statusCode, 200)
  t.equal(await hashOf(email), hash)
  t.match((await after.inject('/metrics')).body, /^microts_hashes_declined_total 0$/m)
  free.resolve()
  await others
  await logIn(after, email)
  t.match(await hashOf(email), /t=5,/)
})

test('a password that changes while its hash is being replaced stays changed', async (t) => {
  const before = await build(t, CHEAP)
  const after = await build(t, { ...DEAR, HASH_CONCURRENCY: '1' })
  const { email } = await signUp(before)
  const { gate } = after.passwords
  const queued = async () => { while (gate.queueLength === 0) await turn() }
  const hold = () => {
    const [begun, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const hash = () => {
      begun.resolve()
      return end.promise
    }
    return { passed: gate.pass(hash), begun: begun.promise, end: end.resolve }
  }

  const first = hold()
  await first.begun
  const login = post(after, '/auth/login', { email, password: PASSWORD })
  await queued()
  const second = hold()
  first.end()
  await second.begun   // the password has been verified in between
  await queued()       // and now its new hash waits
  await sql("update users set password_hash = 'another' where email = $1", [email])
  second.end()

  t.equal((await login).statusCode, 200)
  t.equal(await hashOf(email), 'another')
})

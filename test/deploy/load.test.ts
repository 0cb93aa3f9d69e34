import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { databaseUrl, settings, sql } from '../helper.ts'
import { freePort } from '../port.ts'
import { listening, preload, ready, run, signalTwice, start } from '../processes.ts'
import type { Test } from 'tap'

const LOAD = 'deploy/load/autocannon.ts'
const FIRING = '  0 s: 10 requests a second'

const serve = (t: Test, env: object = {}, nodeArgs: string[] = []) => start(t, 'server.ts', [], { ...settings, LOG_LEVEL: 'info', ...env, PORT: '0' }, nodeArgs)
const load = (t: Test, ...args: string[]) => run(t, LOAD, args)
const users = async () => (await sql('select email from users')).length

test('smoke sends its mix, shows what came of it, and leaves nothing behind', async (t) => {
  const url = await ready(serve(t))
  const { code, stdout, stderr } = await load(t, '--url', url, '--seconds', '3')
  t.equal(code, 0, stderr)
  t.match(stdout, /^ +requests +a second +median +p99 +longest +refused +429 +failed\nGET \/me +\d+ .* ms +0 +0 +0\n/)
  t.match(stdout, /\nkept {4}99.9 % are answered, and as they should be: 100 %\nkept {4}99 % of answers take 250 ms or less: [\d.]+ %\n/)
  t.match(stderr, RegExp(`^smoke: 10 users are made at ${url} \\(argon2: (generic|native)\\), and send 30 requests in 3 s\n`))
  t.match(stderr, /\n {2}1 s: \d+ requests, 0 refused, 0 failed, GET \/me p99 \d+ ms\n/)
  t.match(stderr, /\n\d\d accounts are deleted\n$/)
  t.equal(await users(), 0)
})

test('a flood of logins is refused in order, which is no failure', async (t) => {
  // Hashes take their time here, or all would be done; it is not that of the CPU, which the rest of the suite needs.
  const slow = preload(`
    import { createRequire } from 'node:module'
    import { setTimeout as delay } from 'node:timers/promises'
    const argon2 = createRequire(${JSON.stringify(import.meta.url)})('argon2')
    const { verify } = argon2
    argon2.verify = async (...args) => {
      await delay(3)
      return verify(...args)
    }`)
  const url = await ready(serve(t, { HASH_CONCURRENCY: '1', HASH_QUEUE_TIMEOUT: undefined }, slow))
  const { stdout, stderr } = await load(t, '--url', url, '--profile', 'spike', '--seconds', '5')
  const [, refused, limited, failed] = /^POST \/auth\/login .* ms +(\d+) +(\d+) +(\d+)$/m.exec(stdout) ?? []
  t.ok(Number(refused) > 100, stdout)
  t.same([limited, failed], ['0', '0'], stdout + stderr)
  t.match(stdout, /^(kept {2}|MISSED) {2}99 % of refusals take 100 ms or less: [\d.]+ %$/m)
  t.match(stdout, /^kept {4}95 % of what was planned is sent: 100 %$/m, 'how much a flood sends is up to the answers')
  t.equal(await users(), 0, stderr)
})

test('limits at their defaults end it before it begins, and it says what to raise', async (t) => {
  const limits = Object.fromEntries(Object.keys(settings).filter((name) => name.startsWith('RATE_LIMIT_')).map((name) => [name, undefined]))
  const url = await ready(serve(t, limits))
  const { code, stdout, stderr } = await load(t, '--url', url)
  t.same([code, stdout], [1, ''])
  t.match(stderr, /\nThe limit of 5 in 900 s \(register\) answers 429, and nothing else would be measured: raise RATE_LIMIT_REGISTER_MAX of the instance under load\n$/)
  t.equal(await users(), 0)

  const brief = await ready(serve(t, { RATE_LIMIT_REGISTER_MAX: '5', RATE_LIMIT_AUTH_WINDOW: '1' }))
  t.match(await load(t, '--url', brief), { code: 1, stdout: '', stderr: /\nThe limit of 5 in 1 s \(register\)/ }, 'however soon it would be over')
})

test('a limit that is met on the way ends it there, and the accounts are deleted as the limit allows', async (t) => {
  const url = await ready(serve(t, { RATE_LIMIT_USER_MAX: '1', RATE_LIMIT_WINDOW: '2' }))
  const { code, stdout, stderr } = await load(t, '--url', url)
  t.equal(code, 1)
  t.match(stdout, /^GET \/me .* ms +0 +[1-9]\d* +0$/m)
  t.notMatch(stdout, 'kept')
  t.notMatch(stderr, '  9 s: ', 'long before the profile ends')
  t.match(stderr, /\nThe limit of 1 in 2 s \(user\) answers 429, and nothing else would be measured: raise RATE_LIMIT_USER_MAX of/)
  t.equal(await users(), 0)
})

test('an objective that is missed is exit code 1', async (t) => {
  const url = await ready(serve(t))
  const { child, ended } = start(t, LOAD, ['--url', url, '--seconds', '5'])
  child.stderr.on('data', async (chunk) => {
    if (String(chunk).includes(FIRING)) await sql('delete from users')
  })
  const { code, stdout, stderr } = await ended
  t.equal(code, 1)
  t.match(stdout, /\n {2}POST \/auth\/login: 401, \d+ times\n/)
  t.match(stdout, /\nMISSED {2}99.9 % are answered, and as they should be: [\d.]+ %\n/)
  t.match(stderr, /\nMissed: availability\n$/)
})

test('a service that goes away ends it, and it says what is left', async (t) => {
  const server = serve(t)
  const url = await ready(server)
  const { child, ended } = start(t, LOAD, ['--url', url, '--seconds', '5'])
  child.stderr.on('data', (chunk) => {
    if (String(chunk).includes('  1 s: ')) server.child.kill('SIGKILL')
  })
  const { code, stdout, stderr } = await ended
  t.equal(code, 1)
  t.match(stdout, / no answer, \d+ times\n/)
  t.match(stderr, /\nMissed: availability, schedule\. Accounts are left, which npm run users deletes: load-\S+@example\.com load-/)
  await sql('delete from users')
})

test('Ctrl-C ends it with what it has so far, and no account is left', async (t) => {
  const url = await ready(serve(t))
  const interrupt = async (when: string, ...args: string[]) => {
    const command = start(t, LOAD, ['--url', url, ...args])
    await eventually(() => command.stderr.includes(when))
    await signalTwice(command, 'SIGINT')
    return command.ended
  }

  await t.test('under load', async (t) => {
    const { code, stdout, stderr } = await interrupt('  2 s: ')
    t.equal(code, 1)
    t.match(stdout, /^GET \/me +\d+ /m)
    t.notMatch(stdout, 'kept')
    t.match(stderr, /\nEnded early: nothing is judged\n$/)
    t.equal(await users(), 0)
  })

  await t.test('while it makes users', async (t) => {
    const { code, stderr } = await interrupt('stress: 1200 users are made', '--profile', 'stress')
    t.equal(code, 1)
    const [, made] = /\n(\d+) accounts are deleted\n/.exec(stderr) ?? []
    t.ok(Number(made) < 1200, `${made} were made`)
    t.equal(await users(), 0)
  })
})

test('a second Ctrl-C ends the clean-up as well, and it says what is left', async (t) => {
  const server = serve(t)
  const command = start(t, LOAD, ['--url', await ready(server)])
  await eventually(() => command.stderr.includes('  1 s: '))
  server.child.kill('SIGSTOP')
  t.teardown(() => server.child.kill('SIGCONT'))
  await signalTwice(command, 'SIGINT')
  await eventually(() => / accounts are deleted\n/.test(command.stderr))
  await delay(300)
  command.child.kill('SIGINT')
  const secondAt = performance.now()
  const { code, stderr } = await command.ended
  t.ok(performance.now() - secondAt < 5000, 'it waits for no answer')
  t.equal(code, 1)
  t.match(stderr, /\nEnded early: nothing is judged\. Accounts are left, which npm run users deletes:( load-\S+@example\.com){10,}\n$/)
})

test('a service that cannot take traffic is not loaded', async (t) => {
  const port = await freePort()
  const away = `http://127.0.0.1:${port}`
  t.match(await load(t, '--url', away), { code: 1, stdout: '', stderr: `${away} cannot be reached: connect ECONNREFUSED 127.0.0.1:${port}\n` })
  const unready = await listening(serve(t, { DATABASE_URL: Object.assign(new URL(databaseUrl), { port: '9' }).href }))
  t.match(await load(t, '--url', unready), { code: 1, stdout: '', stderr: RegExp(`^${unready} is not ready: 503 .*"database":{"status":"down"}`) })
  const strict = await ready(serve(t, { PASSWORD_MIN_LENGTH: '64' }))
  t.match(await load(t, '--url', strict), { code: 1, stdout: '', stderr: /\nPOST \/auth\/register answers 400\n$/ })
  const limited = await ready(serve(t, { RATE_LIMIT_MAX: '1' }))
  await fetch(`${limited}/api`)
  t.match(await load(t, '--url', limited), { code: 1, stdout: '', stderr: /^The limit of 1 in 60 s \(address\)/ })
})

test('help is an answer, a wrong usage is an error, and so is a value that cannot be', async (t) => {
  const usage = /^Usage: npm run load -- \[--profile smoke\]/
  t.match(await load(t, '--help'), { code: 0, stdout: usage, stderr: '' })
  t.match(await load(t, 'smoke'), { code: 2, stdout: '', stderr: usage })
  t.match(await load(t, '--profile', 'storm'), { code: 1, stdout: '', stderr: 'storm is no profile: smoke, load, stress, soak, spike\n' })
})

import { chmod, chown, lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { test } from 'tap'
import { build } from '../helper.ts'
import { kidOf, makeKey, setOf } from '../plugins/auth/forge.ts'
import { preload, run, WITH_OWN_STATE } from '../processes.ts'
import type { Test } from 'tap'

type Env = Record<string, string | undefined>

const KEYS = 'deploy/keys.ts'
const NOW = Math.ceil(Date.now() / 1000)
const MARGIN = 100
const USAGE = /^Usage: npm run keys -- generate \| list \| prune /
const rfc3339 = (seconds: number) => new Date(seconds * 1000).toISOString().replace('.000', '')
const at = (seconds: number) => preload(`Date.now = () => ${seconds * 1000}`)

/** A file of keys, and the command for it, whose clock stands where the test says. */
async function fileOf (t: Test, text?: string) {
  const folder = await mkdtemp(join(tmpdir(), 'keys-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 'keys.json')
  if (text !== undefined) await writeFile(path, text, { mode: 0o600 })
  const keys = async () => JSON.parse(await readFile(path, 'utf8')).keys
  const said: string[] = []
  const command = async (args: string[], now = NOW, env: Env = {}, nodeArgs: string[] = []) => {
    const outcome = await run(t, KEYS, args, { JWT_KEYS_FILE: path, ...env }, [...at(now), ...nodeArgs])
    said.push(outcome.stdout, outcome.stderr)
    return outcome
  }
  const lines = async (...what: Parameters<typeof command>) => {
    const { code, stdout, stderr } = await command(...what)
    t.match([code, stderr], [0, ''], what[0].join(' '))
    return stdout.trimEnd().split('\n')
  }
  const isDiscreet = async () => t.notOk(await keys().then((all) => all.some(({ d }: { d: string }) => said.join().includes(d.slice(0, 8)))), 'nothing private is shown')
  return { folder, path, keys, command, lines, isDiscreet }
}

test('the first key signs at once, the next when everybody has had the time to fetch it twice', async (t) => {
  const { path, folder, keys, lines, isDiscreet } = await fileOf(t)
  const [first] = await lines(['generate'])
  const [second] = await lines(['generate'])
  const [one, two] = await keys()
  t.match(first, `${kidOf(one)}  signs at once`)
  t.match(second, `${kidOf(two)}  signs from ${rfc3339(NOW + 600)}: every replica needs the file before ${rfc3339(NOW + 300)}`)
  t.match([one, two], [{ iat: NOW, nbf: 0 }, { iat: NOW, nbf: NOW + 600 }])
  t.same(await readdir(folder), [basename(path)], 'and nothing is left beside it')
  t.equal((await stat(path)).mode & 0o777, 0o600)
  await isDiscreet()

  const app = await build(t, { JWT_KEYS: undefined, JWT_KEYS_FILE: path })
  const { headers, body } = await app.inject('/.well-known/jwks.json')
  t.same(JSON.parse(body).keys.map(({ kid }: { kid: string }) => kid), [one, two].map(kidOf), 'as the service sees them')
  t.equal(app.keys.current.signer().kid, kidOf(one))
  const maxAge = Number(/max-age=(\d+)/.exec(String(headers['cache-control']))?.[1])
  t.equal(two.nbf - NOW, 2 * maxAge)
})

test('an empty file is as good as none', async (t) => {
  const { keys, lines } = await fileOf(t, ' \n')
  t.match(await lines(['generate']), [/ {2}signs at once$/])
  t.match(await keys(), [{ nbf: 0 }])
})

test('list tells what each key is good for, as time goes by', async (t) => {
  const [old, next] = [makeKey(), makeKey({ nbf: NOW + 600 })]
  const { lines, isDiscreet } = await fileOf(t, setOf(old, next))
  const shown = (one: string, other: string) => [`${kidOf(old)}  1970-01-01T00:00:00Z  ${one}`, `${kidOf(next)}  ${rfc3339(NOW + 600)}  ${other}`]
  const free = NOW + 600 + 900 + MARGIN
  const cases: [now: number, one: string, other: string][] = [
    [NOW + 599, 'signing', 'upcoming'],
    [NOW + 600, `verifying only, removable from ${rfc3339(free)}`, 'signing'], [free - 1, `verifying only, removable from ${rfc3339(free)}`, 'signing'],
    [free, `removable since ${rfc3339(free)}`, 'signing']
  ]
  for (const [now, one, other] of cases) t.same(await lines(['list'], now, { ACCESS_TOKEN_TTL: '900' }), shown(one, other))
  await isDiscreet()
})

test('prune removes what no living token is signed by, and nothing else', async (t) => {
  const keys = [makeKey({ nbf: NOW - 5000 }), makeKey(), makeKey({ nbf: NOW + 600 }), makeKey({ nbf: NOW - 1000 }), makeKey({ nbf: NOW - 1000 })]
  const json = JSON.stringify({ comment: 'ours', keys: keys.map((key) => ({ ...key, use: 'sig' })) })
  const { path, lines } = await fileOf(t, json)
  const [early, first, , , twin] = keys.map(kidOf)
  const ttl = { ACCESS_TOKEN_TTL: '900' }

  t.same(await lines(['prune'], NOW - 1, ttl), [`${first}  removed`], 'one second before the next of them')
  await writeFile(path, json)
  t.same(await lines(['prune', '--dry-run'], NOW, ttl), [early, first, twin].map((kid) => `${kid}  would be removed`))
  t.equal(await readFile(path, 'utf8'), json)
  t.same(await lines(['prune'], NOW, ttl), [early, first, twin].map((kid) => `${kid}  removed`))
  t.same(JSON.parse(await readFile(path, 'utf8')), { comment: 'ours', keys: [keys[2], keys[3]].map((key) => ({ ...key, use: 'sig' })) }, 'the others stay as they were')
  t.same(await lines(['prune'], NOW, ttl), ['nothing to remove'])
})

test('where nobody says how long tokens live, the longest life there is counts', async (t) => {
  const [old, next] = [makeKey(), makeKey({ nbf: NOW })]
  const { lines, command, keys } = await fileOf(t, setOf(old, next))
  for (const ttl of ['0', '3601', '900.5', 'x']) t.match(await command(['prune'], NOW, { ACCESS_TOKEN_TTL: ttl }), { code: 1, stdout: '', stderr: 'ACCESS_TOKEN_TTL takes 1 to 3600 seconds\n' })
  t.same(await lines(['prune'], NOW + 3600 + MARGIN - 1, { ACCESS_TOKEN_TTL: ' ' }), ['nothing to remove'])
  t.same(await keys(), [old, next])
  t.same(await lines(['prune'], NOW + 3600 + MARGIN), [`${kidOf(old)}  removed`])
})

test('a key that was put in front by hand signs since the file was changed, for all one can know', async (t) => {
  const [next, old] = [makeKey(), makeKey()]
  const { path, lines } = await fileOf(t, setOf(next, old))
  const free = Math.ceil((await stat(path)).ctimeMs / 1000) + 900 + MARGIN
  const ttl = { ACCESS_TOKEN_TTL: '900' }
  t.same(await lines(['list'], NOW + 600, ttl), [`${kidOf(next)}  1970-01-01T00:00:00Z  signing`, `${kidOf(old)}  1970-01-01T00:00:00Z  verifying only, removable from ${rfc3339(free)}`])
  t.same(await lines(['prune'], free - 2, ttl), ['nothing to remove'])
  t.same(await lines(['prune'], free, ttl), [`${kidOf(old)}  removed`])
})

test('of many who generate at once each appends a key', async (t) => {
  const { folder, keys, lines } = await fileOf(t)
  const said = await Promise.all(Array.from({ length: 5 }, () => lines(['generate'])))
  const all = await keys()
  t.same(said.map(([line]) => line?.split(' ')[0]).sort(), all.map(kidOf).sort())
  t.same(all.map(({ nbf }: { nbf: number }) => nbf), [0, ...Array(4).fill(NOW + 600)])
  t.equal((await readdir(folder)).length, 1)
})

test('who finds that somebody else is at it, and stays at it, says so and changes nothing', async (t) => {
  const { path, command, lines } = await fileOf(t, setOf(makeKey()))
  const before = await readFile(path, 'utf8')
  await writeFile(`${path}.lock`, '')
  for (const args of [['list'], ['prune', '--dry-run']]) t.match(await command(args), { code: 0, stderr: '' }, 'who only looks is not held up')
  t.match(await command(['generate']), { code: 1, stdout: '', stderr: `Somebody else is changing the file; if nobody is, remove ${path}.lock\n` })
  t.equal(await readFile(path, 'utf8'), before)
  await rm(`${path}.lock`)
  t.match(await lines(['generate']), [/signs from/])
})

test('who could read the file still can, and nobody else; a link stays one', async (t) => {
  const { path, folder, lines } = await fileOf(t, setOf(makeKey()))
  await chmod(path, 0o644)
  await chown(path, 12_345, 12_345).catch(String)      // which root alone may do
  const { uid, gid } = await stat(path)
  const link = join(folder, 'link')
  await symlink(basename(path), link)
  await lines(['generate', '--file', link])
  const changed = await stat(path)
  t.same([changed.uid, changed.gid, changed.mode & 0o777], [uid, gid, 0o640])
  t.ok((await lstat(link)).isSymbolicLink())
  t.equal((await lines(['list'])).length, 2)
})

test('a file that cannot be given back to its owner is left alone', async (t) => {
  const { path, folder, command } = await fileOf(t, setOf(makeKey()))
  const before = await readFile(path, 'utf8')
  const unprivileged = preload(`
    import { open } from 'node:fs/promises';
    const handle = await open(process.execPath);
    Object.getPrototypeOf(handle).chown = async () => { throw Object.assign(new Error('EPERM'), { code: 'EPERM' }) };
    await handle.close()`)
  t.match(await command(['generate'], NOW, {}, unprivileged), { code: 1, stdout: '', stderr: `${path} belongs to somebody else: run this as its owner\n` })
  t.equal(await readFile(path, 'utf8'), before)
  t.same(await readdir(folder), [basename(path)])
})

test('a file that holds something else is one sentence, and stays as it is', async (t) => {
  const { path, command } = await fileOf(t)
  const verbs = ['generate', 'list', 'prune']
  const some = makeKey()
  const table: [why: string, text: string][] = [['cut off', setOf(some).slice(0, -20)], ['a public key', setOf({ ...some, d: undefined })], ['text', String(some.d)], ['none', setOf()]]
  for (const [i, [why, text]] of table.entries()) {
    await writeFile(path, text)
    const { code, stdout, stderr } = await command([verbs[i % 3]!])
    t.same([code, stdout, stderr], [1, '', `${path} holds no JWKS of Ed25519 private keys, one of which may sign\n`], why)
    t.equal(await readFile(path, 'utf8'), text)
  }
  await rm(path)
  for (const verb of ['list', 'prune']) t.match(await command([verb]), { code: 1, stderr: `${path} holds no JWKS of Ed25519 private keys, one of which may sign\n` }, 'nor does one that is not there')
  t.match(await command(['list', '--file', dirname(path)]), { code: 1, stdout: '', stderr: /^EISDIR: [^\n]+\n$/ })
  t.match(await command(['generate', '--file', join(path, 'below')]), { code: 1, stdout: '', stderr: /^ENOENT: [^\n]+\n$/ })
})

test('the file is the one that is named, that of the settings, or that of npm start', async (t) => {
  const { folder, path, command, lines } = await fileOf(t, setOf(makeKey()))
  const [named, state] = [makeKey(), makeKey()]
  await writeFile(join(folder, 'named.json'), setOf(named))
  t.match(await lines(['list', '--file', 'named.json'], NOW, { INIT_CWD: folder }), [`${kidOf(named)} `])
  t.match(await lines(['--file', join(folder, 'named.json'), 'list'], NOW, { JWT_KEYS: setOf(state), JWT_KEYS_FILE: '', INIT_CWD: undefined }), [`${kidOf(named)} `])

  const none = { JWT_KEYS_FILE: undefined }
  t.match(await command(['list'], NOW, { ...none, NODE_ENV: 'production' }), { code: 1, stdout: '', stderr: 'JWT_KEYS_FILE or --file is required in production\n' })
  const inline = await command(['generate'], NOW, { ...none, JWT_KEYS: setOf(state) })
  t.match(inline, { code: 1, stdout: '', stderr: /^The keys are in JWT_KEYS, which no command can change: [^\n]+\n$/ })
  t.notMatch(inline.stderr, state.d)
  await rm(path)
  t.match(await command(['list'], NOW, { ...none, XDG_STATE_HOME: folder }, WITH_OWN_STATE), { code: 1, stderr: join(folder, 'microts', 'secrets', 'jwt-keys.json') })
})

test('help is an answer, a wrong usage is an error', async (t) => {
  const { path, command } = await fileOf(t, setOf(makeKey()))
  const before = await readFile(path, 'utf8')
  t.match(await command(['prune', '--help']), { code: 0, stdout: USAGE, stderr: '' })
  t.match(await command(['generate', '--dry-run']), { code: 2, stdout: '', stderr: USAGE })
  t.equal(await readFile(path, 'utf8'), before)
})

import { generateKeyPairSync } from 'node:crypto'
import { resolve } from 'node:path'
import { runCommand, setting, write, type Values } from './command.ts'
import { look, withLock, type File } from './locked-file.ts'
import { parseKeys, type Key } from '../plugins/auth/key-set.ts'
import { keysFileIn } from '../plugins/config/development.ts'
import { EnvSchema } from '../plugins/config/schema.ts'
import { stateFolder } from '../plugins/config/state-folder.ts'

const HELP = `Usage: npm run keys -- generate | list | prune     (in the image: node deploy/keys.ts generate | list | prune)

  generate   append a key: the first signs at once, a later one verifies at once and signs in ten minutes, when everybody knows it
  list       show the keys and what each is good for, never their private parts
  prune      remove the keys whose tokens have all expired

  --file FILE   where the keys are; default: JWT_KEYS_FILE, and outside production the file of npm start
  --dry-run     with prune: only show them

To rotate: prune, generate, and have the file on every replica within five minutes; a running one reads it again every 10 s.
ACCESS_TOKEN_TTL says how long tokens live: where it was lowered, the longest of the last hour. Where it is not set
here, prune assumes an hour, which is the most.
`

// Who fetched the keys just before this one was among them has the old ones for so long, and so may a cache on the way.
const JWKS_MAX_AGE_SECONDS = 300
// The clocks of who signs, who verifies and who prunes may each be 30 s out, and a replica reads the file every 10 s.
const MARGIN_SECONDS = 3 * 30 + 10
const LONGEST_LIFE_SECONDS = EnvSchema.properties.ACCESS_TOKEN_TTL.maximum!

type Jwks = { keys: object[] }
type Judged = Pick<Key, 'kid' | 'notBefore'> & { isRemovable: boolean, state: string }

process.exitCode = await runCommand({
  help: HELP,
  options: { file: { type: 'string' }, 'dry-run': { type: 'boolean' } },
  verbs: {
    generate: { options: ['file'], run: generate },
    list: { options: ['file'], run: list },
    prune: { options: ['file', 'dry-run'], run: prune }
  }
})

async function generate (_: string[], values: Values) {
  const file = fileOf(values)
  const { privateKey } = generateKeyPairSync('ed25519')
  await withLock(file, async ({ text }, replace) => {
    const { keys, ...others } = text.trim() === '' ? { keys: [] } : read(text, file).jwks
    const now = Math.ceil(Date.now() / 1000)
    const nbf = keys.length === 0 ? 0 : now + 2 * JWKS_MAX_AGE_SECONDS
    const after = spell({ ...others, keys: [...keys, { ...privateKey.export({ format: 'jwk' }), iat: now, nbf }] })
    await replace(after)
    const { kid } = parseKeys(after).keys.at(-1)!
    if (nbf === 0) write(`${kid}  signs at once`)
    else write(`${kid}  signs from ${timeOf(nbf)}: every replica needs the file before ${timeOf(nbf - JWKS_MAX_AGE_SECONDS)}`)
  })
}

async function list (_: string[], values: Values) {
  const file = fileOf(values)
  const { judged } = judge(await look(file), file)
  for (const { kid, notBefore, state } of judged) write(`${kid}  ${timeOf(notBefore)}  ${state}`)
}

async function prune (_: string[], { 'dry-run': isDry, ...values }: Values) {
  const file = fileOf(values)
  if (isDry) return tell(judge(await look(file), file).judged, 'would be removed')
  await withLock(file, async (before, replace) => {
    const { jwks, judged } = judge(before, file)
    const keys = jwks.keys.filter((_, i) => !judged[i]!.isRemovable)
    if (keys.length < judged.length) await replace(spell({ ...jwks, keys }))
    tell(judged, 'removed')
  })
}

function tell (judged: Judged[], what: string) {
  const removable = judged.filter(({ isRemovable }) => isRemovable)
  for (const { kid } of removable) write(`${kid}  ${what}`)
  if (removable.length === 0) write('nothing to remove')
}

/** What each key of a file is good for, in their order. */
function judge ({ text, changedAt }: File, path: string): { jwks: Jwks, judged: Judged[] } {
  const now = Date.now()
  const { jwks, keys } = read(text, path)
  const lifeSeconds = lifeOfTokens()
  // Who signs, who did before, and so on: as the service has it, the first among equals.
  const past = keys.filter(({ notBefore }) => notBefore * 1000 <= now).sort((one, other) => other.notBefore - one.notBefore)
  const judged = keys.map((key) => {
    const successor = past[past.indexOf(key) - 1]
    const freeFrom = successor && signsSince(successor) + lifeSeconds + MARGIN_SECONDS
    return { ...key, isRemovable: freeFrom !== undefined && freeFrom * 1000 <= now, state: stateOf(key, freeFrom) }
  })
  return { jwks, judged }

  // One without a time signs since it was put into the file, which is no later than the last change of that.
  function signsSince ({ notBefore }: Key) {
    return notBefore > 0 ? notBefore : changedAt / 1000
  }

  function stateOf (key: Key, freeFrom: number | undefined) {
    if (!past.includes(key)) return 'upcoming'
    if (freeFrom === undefined) return 'signing'
    return freeFrom * 1000 <= now ? `removable since ${timeOf(freeFrom)}` : `verifying only, removable from ${timeOf(freeFrom)}`
  }
}

/** The keys, and how the file spells them. A fault of JSON would quote from them. */
function read (text: string, file: string): { jwks: Jwks, keys: readonly Key[] } {
  try {
    return { keys: parseKeys(text).keys, jwks: JSON.parse(text) }
  } catch {
    throw new Error(`${file} holds no JWKS of Ed25519 private keys, one of which may sign`)
  }
}

function spell (jwks: Jwks) {
  return `${JSON.stringify(jwks, null, 2)}\n`
}

function timeOf (seconds: number) {
  return new Date(Math.ceil(seconds) * 1000).toISOString().replace('.000', '')
}

/** Where npm was called counts, in contrast to where it calls. */
function fileOf ({ file }: Values) {
  if (file) return resolve(process.env.INIT_CWD ?? '.', String(file))
  const [configured, inline, environment] = [setting('JWT_KEYS_FILE'), setting('JWT_KEYS'), setting('NODE_ENV')]
  if (configured) return configured
  if (inline) throw new Error('The keys are in JWT_KEYS, which no command can change: put them into a file and name it in JWT_KEYS_FILE')
  if (environment === 'production') throw new Error('JWT_KEYS_FILE or --file is required in production')
  return keysFileIn(stateFolder(process.env))
}

function lifeOfTokens () {
  const seconds = Number(setting('ACCESS_TOKEN_TTL') ?? LONGEST_LIFE_SECONDS)
  if (Number.isInteger(seconds) && seconds > 0 && seconds <= LONGEST_LIFE_SECONDS) return seconds
  throw new Error(`ACCESS_TOKEN_TTL takes 1 to ${LONGEST_LIFE_SECONDS} seconds`)
}

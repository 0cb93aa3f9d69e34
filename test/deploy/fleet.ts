import { createPublicKey, verify, type JsonWebKey } from 'node:crypto'
import { renameSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../eventually.ts'
import { bearer, PASSWORD, PATIENT, settings } from '../helper.ts'
import { decodeJwt, kidOf, makeKey, setOf } from '../plugins/auth/forge.ts'
import { preload, ready, run, start } from '../processes.ts'
import type { Test } from 'tap'

export type Fleet = Awaited<ReturnType<typeof startFleet>>
type Fetched = { keys: (JsonWebKey & { kid: string })[], maxAge: number }
type Session = { accessToken: string, refreshToken: string }

const TTL_SECONDS = 60
const STEP_SECONDS = 20
const SKEWS_SECONDS = [-15, 0, 15]      // no two clocks are more than 30 s apart
const CACHED_SINCE_SECONDS = [0, 100, 200]
const json = { 'content-type': 'application/json' }

/** Three replicas with one file of keys. Their clocks move when the test says so, and of the 10 s between two looks at the file 50 ms are left. */
export async function startFleet (t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'fleet-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const [clock, file] = [join(folder, 'clock'), join(folder, 'keys.json')]
  let now = Math.floor(Date.now() / 1000)

  const timeOf = (skewSeconds: number) => preload(`
    import { readFileSync } from 'node:fs';
    Date.now = () => (Number(readFileSync(${JSON.stringify(clock)}, 'utf8')) + ${skewSeconds}) * 1000;
    const every = setInterval;
    globalThis.setInterval = (work, ms, ...more) => every(work, ms === 10_000 ? 50 : ms, ...more)`)
  move(0)
  put(file, setOf(makeKey()))
  const ttl = { ACCESS_TOKEN_TTL: String(TTL_SECONDS) }
  const env = { ...settings, ...ttl, ...PATIENT, LOG_LEVEL: 'info', PORT: '0', JWT_KEYS: undefined, JWT_KEYS_FILE: file }
  const origins = await Promise.all(SKEWS_SECONDS.map((skew) => ready(start(t, 'server.ts', [], env, timeOf(skew)))))

  return {
    origins,
    ttlSeconds: TTL_SECONDS,
    now: () => now,
    move,

    /** The operator's command, which answers what it says. */
    async command (verb: string) {
      const { stdout, stderr } = await run(t, 'deploy/keys.ts', [verb], { ...ttl, JWT_KEYS_FILE: file }, timeOf(0))
      return stdout + stderr
    },

    /** What the operator's command would not do: these keys and no others, from now on. */
    async replaceKeys (...keys: ReturnType<typeof makeKey>[]) {
      put(file, setOf(...keys))
      const kids = keys.map(kidOf).join()
      for (const origin of origins) await eventually(async () => (await fetchKeys(origin)).keys.map(({ kid }) => kid).join() === kids)
    }
  }

  function move (seconds: number) {
    now += seconds
    put(clock, String(now))
  }
}

// As a whole, since it may be read at any time.
function put (file: string, text: string) {
  writeFileSync(`${file}.next`, text)
  renameSync(`${file}.next`, file)
}

export async function fetchKeys (origin: string): Promise<Fetched> {
  const response = await fetch(`${origin}/.well-known/jwks.json`)
  const maxAge = Number(/max-age=(\d+)/.exec(String(response.headers.get('cache-control')))?.[1])
  return { ...await response.json() as Pick<Fetched, 'keys'>, maxAge }
}

/** Another service, which fetched the keys a while ago and asks for them no sooner than it was told to. */
async function cachingVerifier ({ origins: [origin = ''], now }: Fleet, sinceSeconds: number) {
  let { keys, maxAge } = await fetchKeys(origin)
  let fetchedAt = now() - sinceSeconds

  return async function countRefused (tokens: string[]) {
    if (now() - fetchedAt >= maxAge) {
      ({ keys, maxAge } = await fetchKeys(origin))
      fetchedAt = now()
    }
    return tokens.filter((token) => !isSignedBy(keys, token)).length
  }
}

function isSignedBy (keys: Fetched['keys'], token: string) {
  const key = keys.find(({ kid }) => kid === decodeJwt(token, 0).kid)
  const [input = '', signature = ''] = token.split(/\.(?=[^.]*$)/)
  return key !== undefined && verify(null, Buffer.from(input), createPublicKey({ key, format: 'jwk' }), Buffer.from(signature, 'base64url'))
}

/** Sessions that go from replica to replica for new tokens, each of which all replicas and verifiers see for as long as it is valid. */
export async function startLoad ({ origins, ...fleet }: Fleet) {
  const [first = ''] = origins
  const credentials = JSON.stringify({ email: `load-${fleet.now()}-${Math.random()}@example.com`, password: PASSWORD })
  const ask = (origin: string, path: string, body: string) => fetch(`${origin}${path}`, { method: 'POST', headers: json, body }).then((answer) => answer.json()) as Promise<Session>
  const sessions = [await ask(first, '/auth/register', credentials)]
  while (sessions.length < origins.length) sessions.push(await ask(first, '/auth/login', credentials))
  const verifiers = await Promise.all(CACHED_SINCE_SECONDS.map((since) => cachingVerifier({ origins, ...fleet }, since)))
  const refused = { byReplicas: 0, byVerifiers: 0 }
  let tokens: string[] = []
  let round = 0
  let checks = 0

  return {
    refused,
    get checks () { return checks },
    /** Whose keys the tokens of the last step were signed by. */
    signers: () => new Set(sessions.map(({ accessToken }) => decodeJwt(accessToken, 0).kid)),

    async step () {
      fleet.move(STEP_SECONDS)
      round++
      await Promise.all(sessions.map(async ({ refreshToken }, i) => {
        sessions[i] = await ask(origins[(i + round) % origins.length]!, '/auth/refresh', JSON.stringify({ refreshToken }))
      }))
      tokens = [...tokens, ...sessions.map(({ accessToken }) => accessToken)].filter((token) => Number(decodeJwt(token).exp) > fleet.now())
      await Promise.all([
        ...origins.flatMap((origin) => tokens.map(async (token) => { if (await statusOf(origin, token) === 401) refused.byReplicas++ })),
        ...verifiers.map(async (countRefused) => { refused.byVerifiers += await countRefused(tokens) })
      ])
      checks += tokens.length * (origins.length + verifiers.length)
    }
  }
}

async function statusOf (origin: string, token: string) {
  const response = await fetch(`${origin}/me`, { headers: bearer(token) })
  await response.arrayBuffer()
  return response.status
}

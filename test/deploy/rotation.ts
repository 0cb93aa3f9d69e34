import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { build, logIn, signUp } from '../helper.ts'
import { kidOf, makeKey } from '../plugins/auth/forge.ts'
import { fetchKeys, startFleet, startLoad } from './fleet.ts'
import type { Test } from 'tap'

const ACCEPTED = { byReplicas: 0, byVerifiers: 0 }
const MARGIN_SECONDS = 100

test('signing keys change under load, on three replicas', async (t) => {
  const fleet = await startFleet(t)
  const kids = async () => Promise.all(fleet.origins.map(async (origin) => (await fetchKeys(origin)).keys.map(({ kid }) => kid)))

  await t.test('by the command: no valid token is refused, by replicas and by verifiers that cache the keys', async (t) => {
    const load = await startLoad(fleet)
    const until = async (seconds: number) => { while (fleet.now() < seconds) await load.step() }
    await load.step()
    const [old] = load.signers()
    const generated = await fleet.command('generate')
    const [, next = '', time = ''] = /^(\S+) {2}signs from (\S+):/.exec(generated) ?? []
    const turn = Date.parse(time) / 1000

    await until(turn - 20)
    t.same(load.signers(), new Set([old]))
    await until(turn)
    t.ok(load.signers().has(next))
    await until(turn + 20)
    t.same(load.signers(), new Set([next]))
    t.match(await fleet.command('list'), `${old}  1970-01-01T00:00:00Z  verifying only, removable from`)
    t.equal(await fleet.command('prune'), 'nothing to remove\n')
    await until(turn + fleet.ttlSeconds + MARGIN_SECONDS - 20)
    t.equal(await fleet.command('prune'), 'nothing to remove\n')
    await load.step()
    t.equal(await fleet.command('prune'), `${old}  removed\n`)
    for (let i = 0; i < 5; i++) await load.step()

    t.same(await kids(), fleet.origins.map(() => [next]))
    t.same(load.refused, ACCEPTED)
    t.comment(`${load.checks} checks`)
  })

  await t.test('a key that signed at once would be refused by who has the keys of before', async (t) => {
    const old = makeKey()
    await fleet.replaceKeys(old)
    const load = await startLoad(fleet)
    await load.step()
    t.same(load.refused, ACCEPTED)
    await fleet.replaceKeys(old, makeKey({ nbf: fleet.now() }))
    await load.step()

    t.ok(load.refused.byVerifiers > 0)
  })

  await t.test('a key that went as soon as the next one signs would take valid tokens along', async (t) => {
    const [old, next] = [makeKey(), makeKey({ nbf: fleet.now() + 70 })]
    await fleet.replaceKeys(old, next)
    const load = await startLoad(fleet)
    for (let i = 0; i < 5; i++) await load.step()
    t.same(load.refused, ACCEPTED)
    t.same(load.signers(), new Set([kidOf(next)]))
    await fleet.replaceKeys(next)
    await load.step()

    t.ok(load.refused.byReplicas > 0)
  })
})

const [old, next] = [randomBytes(48).toString('base64url'), randomBytes(48).toString('base64url')]
const SESSIONS = 6
const REPLICAS = 3

/** Replicas that are rolled one after another, while sessions refresh themselves, each time on the next one. */
async function startRolling (t: Test, secret: string) {
  const start = async (secret: string) => {
    const app = await build(t, { REFRESH_TOKEN_SECRET: secret })
    return { app, origin: await app.listen({ port: 0 }) }
  }
  const replicas = await Promise.all(Array.from({ length: REPLICAS }, () => start(secret)))
  const { app } = replicas[0]!
  const { email, ...first } = await signUp(app)
  const tokens = [first, ...await Promise.all(Array.from({ length: SESSIONS - 1 }, () => logIn(app, email)))].map(({ refreshToken }) => refreshToken)
  const refreshed = tokens.map(() => 0)
  const statuses: Record<number, number> = {}
  const over = new AbortController()

  const loops = tokens.map(async (_, i) => {
    for (let turn = i; !over.signal.aborted; turn++) {
      const body = JSON.stringify({ refreshToken: tokens[i] })
      const response = await fetch(`${replicas[turn % REPLICAS]!.origin}/auth/refresh`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
      statuses[response.status] = (statuses[response.status] ?? 0) + 1
      const { refreshToken = tokens[i] } = await response.json() as { refreshToken?: string }
      if (response.ok) refreshed[i]!++
      tokens[i] = refreshToken
    }
  })

  return {
    statuses,
    async end () {
      over.abort()
      await Promise.all(loops)
    },

    /** After each replica every session has been on all of them. */
    async roll (secret: string) {
      for (let i = 0; i < REPLICAS; i++) {
        const { app } = replicas[i]!
        replicas[i] = await start(secret)
        const goals = refreshed.map((count) => count + REPLICAS)
        await eventually(() => goals.every((goal, i) => refreshed[i]! >= goal), 60_000)
        await app.close()
      }
    }
  }
}

test('the secret of refresh tokens changes in three steps under load, on three replicas: none is refused', async (t) => {
  const load = await startRolling(t, old)
  await load.roll(`${old},${next}`)
  await load.roll(`${next},${old}`)
  await load.roll(next)
  await load.end()

  t.same(Object.keys(load.statuses), ['200'])
  t.comment(`${load.statuses[200]} refreshes`)
})

test('in two steps some would be refused', async (t) => {
  const load = await startRolling(t, old)
  await load.roll(`${next},${old}`)
  await load.end()

  t.ok(load.statuses[401]! > 0)
})

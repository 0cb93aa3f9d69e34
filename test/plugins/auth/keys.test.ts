import { test } from 'tap'
import { parseKeys } from '../../../plugins/auth/key-set.ts'
import { createKeys } from '../../../plugins/auth/keys.ts'
import { kidOf, makeKey, setOf, unusableSets } from './forge.ts'

const [one, two] = [makeKey(), makeKey()]

/** A source that is read when the test says so, on a clock of its own. */
function source (...keys: object[]) {
  const state = { json: setOf(...keys), now: 0, reads: 0, refusals: 0, changes: 0, read: async () => state.json }
  const set = createKeys(state.json, {
    now: () => state.now,
    read: () => {
      state.reads++
      return state.read()
    },
    onChange: () => state.changes++,
    onRefusal: () => state.refusals++
  })
  return { state, set }
}

test('the newest key whose time has come signs, the first among equals; all of them verify', async (t) => {
  const cases: [why: string, nbf: (number | undefined)[], signer: number][] = [
    ['one', [undefined], 0], ['the first among those without', [undefined, undefined, undefined], 0], ['absent is 0', [undefined, 1], 1], ['the newest', [1, 300, 200], 1], ['the first among equals', [100, 500, 500], 1],
    ['not one of the future', [100, 1001, 200], 2], ['one whose second has come', [100, 1000], 1], ['before 1970', [-5, -4], 1], ['fractions', [999.5, 999.25], 0]
  ]
  for (const [why, times, signer] of cases) {
    const keys = times.map((nbf) => makeKey({ nbf }))
    const set = parseKeys(setOf(...keys), () => 1_000_000)
    t.equal(set.signer().kid, kidOf(keys[signer]!), why)
    t.same(set.keys.map(({ kid }) => kid), keys.map(kidOf))
    for (const key of keys) t.equal(set.byId(kidOf(key))?.jwk.x, key.x)
  }
})

test('a key begins to sign by itself when its time comes', async (t) => {
  let now = 0
  const [old, next] = [makeKey(), makeKey({ nbf: 100 })]
  const { signer } = parseKeys(setOf(old, next), () => now)
  now = 99_999
  t.equal(signer().kid, kidOf(old))
  now = 100_000
  t.equal(signer().kid, kidOf(next))
})

test('where the clock is put back to before all of them, the earliest signs', async (t) => {
  let now = 100_000
  const [early, late] = [makeKey({ nbf: 50 }), makeKey({ nbf: 90 })]
  const { signer } = parseKeys(setOf(late, early, makeKey({ nbf: 60 })), () => now)
  t.equal(signer().kid, kidOf(late))
  now = 49_000
  t.equal(signer().kid, kidOf(early))
})

test('a set that is not usable is refused at the start', async (t) => {
  for (const [why, json] of unusableSets) t.throws(() => parseKeys(json), why)
})

test('unknown ids cost at most one read in 10 seconds', async (t) => {
  const { state, set } = source(one)
  t.equal((await set.find(kidOf(one)))?.kid, kidOf(one))
  t.equal(state.reads, 0, 'a known one costs none')
  t.same(await Promise.all(Array.from({ length: 100 }, (_, i) => set.find(`unknown ${i}`))), Array(100).fill(undefined))
  t.equal(state.reads, 1)
  state.now = 9999
  t.equal(await set.find('unknown'), undefined)
  t.equal(state.reads, 1)

  state.now = 10_000
  state.json = setOf(one, two)
  t.equal((await set.find(kidOf(two)))?.kid, kidOf(two))
  t.match(state, { reads: 2, changes: 1, refusals: 0 })
})

test('who asks while the source is read waits for it, and reads do not overtake each other', async (t) => {
  const { state, set } = source(one)
  const slow = Promise.withResolvers<string>()
  state.read = () => slow.promise
  const [first, second, third] = [set.find(kidOf(two)), set.find(kidOf(two)), set.reread()]
  slow.resolve(setOf(one, two))
  t.equal((await first)?.kid, kidOf(two))
  t.equal((await second)?.kid, kidOf(two))
  await third
  t.match(state, { reads: 1, changes: 1 })
})

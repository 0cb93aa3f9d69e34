import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { createHealth } from '../../plugins/health.ts'
import { settings } from '../helper.ts'

const UP = { status: 'up' }
const DOWN = { status: 'down' }

test('a check is up with its first success', async (t) => {
  const { health, answer, changes } = watched()
  t.same(health.report(), { database: DOWN })
  t.notOk(health.isReady())
  await answer(false, false, false, true)

  t.same(health.report(), { database: UP })
  t.ok(health.isReady())
  t.same(changes, [['database', true, undefined]])
})

test('a check that has never been up is told of once, two seconds after the start, however often it was made', async (t) => {
  const { health, answer, changes, clock } = watched()
  await answer(false, false)
  clock.ms += 1999
  await answer(...Array(100).fill(false))
  t.same(changes, [])
  clock.ms += 1
  await answer(false, false)
  t.match(changes, [['database', false, { message: 'away' }]])
  t.equal(changes.length, 1)
  await answer(true)
  t.ok(health.isReady(), 'and is up with its first success all the same')
})

test('it falls with the third failure in a row and is back with the second success', async (t) => {
  const { health, answer, changes } = watched()
  await answer(true, false, false)
  t.ok(health.isReady())
  await answer(false)
  t.notOk(health.isReady())
  await answer(true)
  t.notOk(health.isReady())
  await answer(true)
  t.ok(health.isReady())
  t.match(changes, [['database', true, undefined], ['database', false, { message: 'away' }], ['database', true, undefined]])
})

test('failures and successes that are no row change nothing', async (t) => {
  const { health, answer, changes } = watched()
  await answer(true, false, false, true, false, true, false, false, true)
  t.ok(health.isReady())
  await answer(false, false, false, true, false, true, false, false)
  t.notOk(health.isReady())
  t.equal(changes.length, 2)
})

test('a dependency that comes and goes every 2 s for a minute changes readiness twice at most', async (t) => {
  for (const phaseMs of [0, 500, 999, 1500]) {
    for (const intervalMs of [1000, 1010, 1100, 1300, 1900]) {
      const { answer, changes } = watched()
      await answer(true)
      for (let at = phaseMs; at < 60_000; at += intervalMs) await answer(Math.floor(at / 2000) % 2 === 0)
      t.ok(changes.length - 1 <= 2, `${changes.length - 1} changes when asked every ${intervalMs} ms from ${phaseMs} ms on`)
    }
  }
})

test('several checks of one name are up together or not at all', async (t) => {
  const health = createHealth()
  let isLoaded = false
  health.add('database', async () => {})
  health.add('database', async () => { if (!isLoaded) throw new Error('not loaded yet') })
  health.add('database', async () => {})
  await health.checkNow()
  t.same(health.report(), { database: DOWN })
  isLoaded = true
  await health.checkNow()
  t.same(health.report(), { database: UP })
})

test('it has risen when each check has been up once, though not at the same time', async (t) => {
  const health = createHealth()
  let round = 0
  health.add('a', async () => { if (round > 0) throw new Error('away') })
  health.add('b', async () => { if (round < 5) throw new Error('away') })
  for (; round < 5; round++) await health.checkNow()
  t.notOk(health.hasRisen())
  await health.checkNow()
  t.ok(health.hasRisen())
  await health.risen
  t.same(health.report(), { a: DOWN, b: UP })
})

test('a check that does not answer within a second has failed', async (t) => {
  const { promise: never } = Promise.withResolvers<void>()
  let error: unknown
  const health = createHealth()
  health.onChange((name, isUp, cause) => { error = cause })
  let isSilent = false
  health.add('database', async () => { if (isSilent) await never })
  await health.checkNow()
  isSilent = true
  const startedAt = performance.now()
  const keepsProcess = setInterval(() => {}, 1000)
  for (let i = 0; i < 3; i++) await health.checkNow()
  clearInterval(keepsProcess)

  t.ok(performance.now() - startedAt < 4000)
  t.notOk(health.isReady())
  t.match(error, { message: 'no answer within 1000 ms' })
})

test('until all has been up once it asks less and less often', async (t) => {
  const app = await buildApp(loadConfig(settings))
  t.teardown(() => app.close())
  const begun: number[] = []
  const enough = Promise.withResolvers<void>()
  app.health.add('database', async () => {
    begun.push(performance.now())
    if (begun.length < 8) throw new Error('away')
    enough.resolve()
  })
  await app.ready()
  await enough.promise
  await app.health.risen
  t.ok(begun[7]! - begun[0]! > 700, 'seven pauses of 50 ms would be half of that')
})

test('nothing is checked after closing', async (t) => {
  const app = await buildApp(loadConfig(settings))
  const { promise: open, resolve: release } = Promise.withResolvers<void>()
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  let checks = 0
  app.health.add('database', async () => {
    checks++
    ask()
    await open
  })
  await app.ready()
  await asked
  await app.close()
  release()
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal(checks, 1)
})

function watched () {
  const changes: unknown[][] = []
  const clock = { ms: 1000 }
  const health = createHealth(() => clock.ms)
  health.onChange((...change) => changes.push(change))
  let isGood = false
  health.add('database', async () => { if (!isGood) throw new Error('away') })
  const answer = async (...results: boolean[]) => {
    for (isGood of results) await health.checkNow()
  }
  return { health, answer, changes, clock }
}

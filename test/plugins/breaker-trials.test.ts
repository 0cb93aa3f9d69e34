import { mock } from 'node:test'
import { test } from 'tap'
import { DECLINED, fail, start, succeed, VOLUME, WINDOW_MS } from './breaker-in-time.ts'

const [EARLIEST_MS, LATEST_MS] = [2400, 3600]

test('while it is open nothing is tried, and who asks is told so at once', async (t) => {
  const { breaker } = start(t)
  breaker.refuseIfOpen()
  await fail(breaker, VOLUME)
  let tries = 0
  await t.rejects(breaker.run(async () => tries++), DECLINED)
  t.throws(() => breaker.refuseIfOpen(), DECLINED)
  mock.timers.tick(EARLIEST_MS - 1)
  await t.rejects(breaker.run(async () => tries++), DECLINED)
  t.equal(tries, 0)
})

for (const [what, end, state] of [['success closes', 'resolve', 'closed'], ['failure opens', 'reject', 'open']] as const) {
  test(`half open, one of 100 is let through, and its ${what} it`, async (t) => {
    const { breaker, changes } = start(t)
    await fail(breaker, VOLUME)
    mock.timers.tick(LATEST_MS)
    t.equal(breaker.state, 'half-open')
    const trial = Promise.withResolvers<string>()
    let tries = 0
    const calls = Array.from({ length: 100 }, () => {
      if (tries === 0) breaker.refuseIfOpen()
      return breaker.run(() => {
        tries++
        return trial.promise
      }).catch(({ reason }) => reason)
    })
    t.throws(() => breaker.refuseIfOpen(), DECLINED)
    t.same(new Set(await Promise.all(calls.slice(1))), new Set([DECLINED.reason]))
    trial[end]('the trial')
    await calls[0]
    t.equal(tries, 1)
    t.equal(breaker.state, state)
    t.same(changes, ['store: closed → open', 'store: open → half-open', `store: half-open → ${state}`])
    if (state === 'closed') return
    mock.timers.tick(EARLIEST_MS - 1)
    t.equal(breaker.state, 'open', 'for as long as the first time')
    mock.timers.tick(LATEST_MS - EARLIEST_MS + 1)
    t.equal(breaker.state, 'half-open')
  })
}

test('when it tries again is different each time: from 2.4 to 3.6 s', async (t) => {
  const { breaker } = start(t)
  const waits = []
  await fail(breaker, VOLUME)
  for (let i = 0; i < 100; i++) {
    let ms = 0
    while (breaker.state === 'open') {
      mock.timers.tick(1)
      ms++
    }
    waits.push(ms)
    await fail(breaker)
  }
  const [least, most] = [Math.min(...waits), Math.max(...waits)]
  t.ok(least >= EARLIEST_MS && least < 2700, `${least} ms`)
  t.ok(most > 3300 && most <= LATEST_MS, `${most} ms`)
})

test('closed again, by a trial or because it was seen elsewhere that it is back, it has forgotten the failures of before', async (t) => {
  const { breaker, changes } = start(t)
  for (const how of ['elsewhere', 'trial']) {
    await fail(breaker, VOLUME)
    t.equal(breaker.state, 'open')
    if (how === 'trial') {
      mock.timers.tick(LATEST_MS)
      await succeed(breaker)
    } else breaker.close()
    t.equal(breaker.state, 'closed')
    await fail(breaker, VOLUME - 1)
    t.equal(breaker.state, 'closed', how)
    breaker.close()
    await succeed(breaker)
    mock.timers.tick(WINDOW_MS + 1000)
  }
  t.equal(changes.length, 5, 'to close what is closed changes nothing')
})

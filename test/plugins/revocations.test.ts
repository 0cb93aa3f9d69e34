import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { createRevocations, KEEP_SECONDS, type RevocationMarkers } from '../../plugins/revocations/memory.ts'
import { within } from '../../plugins/within.ts'

const UNAVAILABLE = { code: 'SERVICE_UNAVAILABLE', statusCode: 503 }
const { promise: never } = Promise.withResolvers<string[]>()

test('what is fresh is answered without I/O', async (t) => {
  const feed = watched()
  feed.ids.push('revoked')
  await feed.revocations.refresh()
  feed.time += 900

  t.equal(feed.revocations.isRevoked('revoked'), true)
  t.equal(feed.revocations.isRevoked('alive'), false)
  t.equal(feed.revocations.age, 900)
  t.equal(feed.reads, 1)
})

test('what is known to be revoked stays so, however old the feed is', async (t) => {
  const feed = watched()
  feed.ids.push('revoked')
  await feed.revocations.refresh()
  feed.ids.pop()
  feed.time += 60_000
  feed.read = async () => { throw new Error('away') }

  t.equal(feed.revocations.isRevoked('revoked'), true)
})

test('a hundred that find the feed stale join one read', async (t) => {
  const feed = watched()
  await feed.revocations.refresh()
  feed.time += 901
  feed.ids.push('50')
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => feed.revocations.isRevoked(String(i))))

  t.equal(feed.reads, 2)
  t.same(answers.flatMap((isRevoked, i) => isRevoked ? [i] : []), [50])
  t.equal(feed.revocations.isRevoked('alive'), false, 'and is fresh for those who come after')
})

test('the age counts from before the read was sent', async (t) => {
  const feed = watched()
  await feed.revocations.refresh()
  feed.time += 901
  feed.read = async () => {
    feed.time += 901
    return []
  }
  await t.rejects(async () => feed.revocations.isRevoked('alive'), UNAVAILABLE)
  t.equal(feed.revocations.age, 901)
})

test('a read that was held up for too long is followed by another one', async (t) => {
  const feed = watched()
  await feed.revocations.refresh()
  feed.time += 901
  const delays = [901]
  feed.read = async () => {
    feed.time += delays.shift() ?? 0
    return []
  }
  t.equal(await feed.revocations.isRevoked('alive'), false)
})

test('who joins a silent read waits 300 ms and is refused', async (t) => {
  const feed = watched()
  await feed.revocations.refresh()
  feed.time += 901
  feed.read = () => never
  const startedAt = performance.now()
  await t.rejects(async () => feed.revocations.isRevoked('alive'), UNAVAILABLE)

  const tookMs = performance.now() - startedAt
  t.ok(tookMs >= 295 && tookMs < 600, `refused after ${tookMs} ms`)
})

for (const { what, failedAfterMs, isOldMs, isKeptWaiting } of [
  { what: 'after a server that refused, who asks waits for the next read', failedAfterMs: 19, isOldMs: 19, isKeptWaiting: true },
  { what: 'after a silent one not for long', failedAfterMs: 20, isOldMs: 0, isKeptWaiting: false },
  { what: 'nor after one that refused, where it is silent now', failedAfterMs: 19, isOldMs: 20, isKeptWaiting: false }
]) {
  test(what, async (t) => {
    const feed = watched()
    feed.read = async () => {
      feed.time += failedAfterMs
      throw new Error('away')
    }
    await t.rejects(feed.revocations.refresh(), { message: 'away' })
    feed.time += 1000
    const { promise: connected, resolve: connect } = Promise.withResolvers<string[]>()
    feed.read = () => connected
    const reading = feed.revocations.refresh()
    feed.time += isOldMs
    const asked = (async () => feed.revocations.isRevoked('alive'))()
    if (isKeptWaiting) setTimeout(connect, 100, [])

    await (isKeptWaiting ? t.resolveMatch(asked, false) : t.rejects(asked, UNAVAILABLE))
    connect([])
    await reading
  })
}

test('a read that is too late for those who asked is there for the next', async (t) => {
  const feed = watched()
  await feed.revocations.refresh()
  feed.time += 901
  const { promise: late, resolve: arrive } = Promise.withResolvers<string[]>()
  feed.read = () => late
  await t.rejects(async () => feed.revocations.isRevoked('alive'), UNAVAILABLE)
  arrive(['revoked'])
  await feed.revocations.refresh()

  t.equal(feed.revocations.isRevoked('revoked'), true)
  t.equal(feed.revocations.isRevoked('alive'), false)
  t.equal(feed.reads, 2)
})

test('nobody is let in before the whole feed has been read once', async (t) => {
  const feed = watched({ has: async () => false })
  feed.read = async () => { throw new Error('away') }
  t.notOk(feed.revocations.isLoaded)
  await t.rejects(async () => feed.revocations.isRevoked('alive'), UNAVAILABLE)
  feed.revocations.announce(['revoked'])
  t.equal(feed.revocations.isRevoked('revoked'), true)
})

test('who comes before the first read is done waits for it', async (t) => {
  const feed = watched()
  feed.ids.push('revoked')
  const answers = [feed.revocations.isRevoked('alive'), feed.revocations.isRevoked('revoked')]

  t.same(await Promise.all(answers), [false, true])
  t.equal(feed.reads, 1)
  t.ok(feed.revocations.isLoaded)
})

test('where the feed is stale and cannot be read the markers decide', async (t) => {
  const feed = watched({ has: async (id) => id === 'marked' })
  await feed.revocations.refresh()
  feed.time += 901
  feed.read = async () => { throw new Error('away') }

  t.equal(await feed.revocations.isRevoked('marked'), true)
  t.equal(await feed.revocations.isRevoked('alive'), false)
})

test('where the markers cannot be read either nobody is let in', async (t) => {
  const feed = watched({ has: async () => { throw new Error('away too') } })
  await feed.revocations.refresh()
  feed.time += 901
  feed.read = async () => { throw new Error('away') }

  await t.rejects(async () => feed.revocations.isRevoked('alive'), { ...UNAVAILABLE, cause: { message: 'away too' } })
})

test('a failed read is told to who asked for it, and the next one is made anew', async (t) => {
  const feed = watched()
  feed.read = async () => { throw new Error('away') }
  await t.rejects(feed.revocations.refresh(), { message: 'away' })
  feed.read = async () => ['revoked']
  await feed.revocations.refresh()

  t.equal(feed.revocations.isRevoked('revoked'), true)
})

test('an id is kept for longer than any access token lives, by the monotonic clock', async (t) => {
  const feed = watched()
  feed.revocations.announce(['first'])
  feed.time += 1000
  feed.ids.push('first', 'second')
  await feed.revocations.refresh()
  feed.ids.length = 0
  feed.time = KEEP_SECONDS * 1000 - 1
  await feed.revocations.refresh()
  t.same(['first', 'second'].map(feed.revocations.isRevoked), [true, true])
  feed.time++
  await feed.revocations.refresh()
  t.same(['first', 'second'].map(feed.revocations.isRevoked), [false, true])
  feed.time += 1000
  await feed.revocations.refresh()
  t.same(['first', 'second'].map(feed.revocations.isRevoked), [false, false])
})

test('what Redis has not taken until no token can be alive is not kept for it', async (t) => {
  const unwritten = new Set<string>()
  const feed = watched({ note: (ids) => ids.forEach((id) => unwritten.add(id)), forget: (id) => { unwritten.delete(id) } })
  feed.revocations.announce(['old'])
  feed.time += 1000
  feed.revocations.announce(['young'])
  feed.time = KEEP_SECONDS * 1000
  await feed.revocations.refresh()

  t.same([...unwritten], ['young'])
})

test('who asks for all gets what was revoked before, though a read was under way', async (t) => {
  const feed = watched()
  const { promise: early, resolve: arrive } = Promise.withResolvers<string[]>()
  feed.read = () => early
  const reading = feed.revocations.refresh()
  feed.ids.push('revoked')
  const all = feed.revocations.readAll()
  feed.read = async () => [...feed.ids]
  arrive([])
  await reading

  t.same(await all, ['revoked'])
  t.equal(feed.reads, 2)
})

test('what is announced is known here at once and published to the others', async (t) => {
  const published: string[][] = []
  const feed = watched({ publish: async (ids) => { published.push(ids) } })
  await feed.revocations.refresh()
  feed.revocations.announce(['a', 'b'])
  feed.revocations.announce([])

  t.same(['a', 'b', 'c'].map(feed.revocations.isRevoked), [true, true, false])
  t.same(published, [['a', 'b']])
  t.equal(feed.reads, 1)
})

test('without a clock it takes the monotonic one', async (t) => {
  const revocations = createRevocations({ read: async () => [], within })
  await revocations.refresh()
  t.ok(revocations.age >= 0 && revocations.age < 900)
  t.equal(revocations.isRevoked('alive'), false)
})

/** A feed that the test writes, on a clock that it turns. */
function watched (markers?: Partial<RevocationMarkers>) {
  const ids: string[] = []
  const source = { time: 0, reads: 0, ids, read: async () => [...ids] }
  const revocations = createRevocations({
    read: () => {
      source.reads++
      return source.read()
    },
    markers: markers && { note: () => {}, forget: () => {}, publish: async () => {}, has: async () => false, ...markers },
    within,
    now: () => source.time
  })
  return Object.assign(source, { revocations })
}

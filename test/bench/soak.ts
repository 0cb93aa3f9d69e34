import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { PASSWORD, UNHURRIED } from '../helper.ts'
import { aloud } from './aloud.ts'
import { asMarkdown, asText } from './columns.ts'
import { judge, type Moment } from './flatness.ts'
import { pace } from './pace.ts'
import { CORE_COUNT, startServer, stepAside } from './processes.ts'
import { exchange, login, me, post } from './requests.ts'
import { createWorld, emailOf, UNLIMITED, USERS } from './world.ts'

const FOLDER = join(import.meta.dirname, '../../.tap')
const SECONDS = Number(process.env.SOAK_SECONDS ?? 600)
const PARTS = 10
const SAMPLE_SECONDS = 5
const HASHES = 10 * CORE_COUNT
const MB = 2 ** 20
const HEAD = ['minute', 'requests', 'RSS, MB', 'heap at its most, MB', 'after a collection, MB']
const say = (text: string) => process.stderr.write(text)
const any = (count: number) => Math.floor(Math.random() * count)

test('memory is flat under a constant load', { timeout: 3_000_000 }, (t) => aloud(run(t)))

async function run (t: Test) {
  stepAside()
  const { env, redisUrl, accessTokens, refreshTokens } = await createWorld(t)
  const { url, cpuSeconds, signal } = await startServer(t, 'test/bench/collectable.ts', { ...env, ...UNLIMITED, ...UNHURRIED, REDIS_URL: redisUrl })
  // What hashes take at once is kept from then on, and how many meet is a matter of luck at a few logins a second.
  await Promise.all(Array.from({ length: HASHES }, async (_, i) => {
    const { path, ...request } = login(emailOf(i))
    await (await fetch(url + path, request)).arrayBuffer()
  }))
  const forged = (i: number) => [...accessTokens[i]!.split('.').slice(0, 2), accessTokens.at(i - 1)!.split('.')[2]].join('.')
  let registered = 0
  const loads = [
    { perSecond: 500, next: () => me(accessTokens[any(USERS)]!) },
    { perSecond: 100, ...exchange(refreshTokens) },
    { perSecond: 5, next: () => login(emailOf(any(USERS))) },
    { perSecond: 1, next: () => post('/auth/register', { email: `new-${registered++}@example.com`, password: PASSWORD }), expected: 201 },
    { perSecond: 20, next: () => me(forged(any(USERS))), expected: 401 }
  ]
  const perSecond = loads.reduce((sum, load) => sum + load.perSecond, 0)
  say(`${perSecond} requests a second for ${SECONDS} s\n`)

  const moments: (Moment & { mostHeapBytes: number })[] = []
  const ended = new AbortController()
  const before = cpuSeconds()
  try {
    await Promise.all([watch(), ...loads.map((load) => pace({ url, seconds: SECONDS, ...load }))])
  } finally {
    ended.abort()
  }
  const busy = (cpuSeconds() - before) / SECONDS

  const cells = moments.map(({ minute, rssBytes, mostHeapBytes, heapBytes }) =>
    [minute.toFixed(1), (minute * 60 * perSecond).toFixed(), ...[rssBytes, mostHeapBytes, heapBytes].map((bytes) => (bytes / MB).toFixed(1))])
  const { heapPerMinute, rss, isFlat } = judge(moments)
  const verdict = `${isFlat ? 'flat' : 'NOT FLAT'}: the heap grows by ${(heapPerMinute * 100).toFixed(2)} % a minute (less than 1), ` +
    `RSS is ${rss.toFixed(2)} times what it was after three tenths (at most 1.1); no request of ${perSecond * SECONDS} failed; one core was ${(busy * 100).toFixed()} % busy`
  const path = join(FOLDER, 'soak.md')
  await mkdir(FOLDER, { recursive: true })
  await writeFile(path, `${asMarkdown(HEAD, cells)}\n\n${verdict}\n`)
  say(`\n${asText(HEAD, cells)}\n\n${verdict}\n\nAs Markdown: ${relative(process.cwd(), path)}\n`)
  t.ok(isFlat, verdict)

  /** Every five seconds, and at the end of each tenth of the time after a collection too. */
  async function watch () {
    const startedAt = performance.now()
    let heaps: number[] = []
    for (let at = SAMPLE_SECONDS; at < SECONDS; at += SAMPLE_SECONDS) {
      await delay(startedAt + at * 1000 - performance.now(), undefined, { signal: ended.signal }).catch(() => {})
      if (ended.signal.aborted) return
      const { rssBytes, heapBytes, collections } = await memoryOf(url, env.OPS_TOKEN)
      heaps.push(heapBytes)
      if (at + SAMPLE_SECONDS < (moments.length + 1) * SECONDS / PARTS) continue
      // Of collections that come together one is counted, which may be another one.
      let collected
      do {
        signal('SIGCONT')
        collected = await memoryOf(url, env.OPS_TOKEN)
      } while (collected.collections === collections && !ended.signal.aborted)
      moments.push({ minute: at / 60, rssBytes, heapBytes: collected.heapBytes, mostHeapBytes: Math.max(...heaps) })
      heaps = []
      say(`${at} s: RSS ${(rssBytes / MB).toFixed()} MB, heap after a collection ${(collected.heapBytes / MB).toFixed(1)} MB\n`)
    }
  }
}

/** Of the process, as it tells itself: the heap together with what is outside and belongs to it. */
async function memoryOf (url: string, token: string) {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })
  const metrics = await response.text()
  const valueOf = (name: string, unseen?: string) => {
    const [, value = unseen] = metrics.match(new RegExp(`^${name} (\\S+)$`, 'm')) ?? []
    if (value === undefined) throw new Error(`GET /metrics answered ${response.status} without ${name}`)
    return Number(value)
  }
  return {
    rssBytes: valueOf('process_resident_memory_bytes'),
    heapBytes: valueOf('nodejs_heap_size_used_bytes') + valueOf('nodejs_external_memory_bytes'),
    collections: valueOf('nodejs_gc_duration_seconds_count\\{kind="major"\\}', '0')
  }
}

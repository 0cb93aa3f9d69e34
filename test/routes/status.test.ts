import { test } from 'tap'
import manifest from '../../package.json' with { type: 'json' }
import { build, settings } from '../helper.ts'

const UPTIME_SECONDS = 3 * 86_400 + 4 * 3600 + 12 * 60 + 9.9

test('the status names the service, what it depends on and where to look further', async (t) => {
  t.intercept(process, 'uptime', { value: () => UPTIME_SECONDS })
  const app = await build(t, { HASH_CONCURRENCY: '3' })
  const response = await app.inject('/status')
  const { uptime, hashing, links, ...rest } = response.json()

  t.equal(response.statusCode, 200)
  t.equal(response.headers['cache-control'], 'no-store')
  t.same(rest, {
    service: 'microts',
    version: manifest.version,
    status: 'up',
    dependencies: {
      database: { status: 'up', breaker: 'closed' },
      redis: { status: 'disabled', breaker: 'disabled' },
      webhook: { status: 'disabled', breaker: 'disabled' }
    },
    alerts: { total: 0, firing: 0, resolved: 0 }
  })
  t.match(uptime, { seconds: Math.floor(UPTIME_SECONDS), formatted: '3d 4h 12m 9s' })
  const startedAgoMs = Date.now() - Date.parse(uptime.startedAt)
  t.ok(Math.abs(startedAgoMs - UPTIME_SECONDS * 1000) < 10_000)
  t.match(hashing, { build: /^(generic|native)$/, concurrency: 3 })
  for (const link of Object.values<string>(links)) t.equal((await app.inject(link)).statusCode, 200, link)
})

test('who drains is down, though what it depends on is up', async (t) => {
  const app = await build(t)
  app.health.drain()
  t.match((await app.inject('/status')).json(), { status: 'down', dependencies: { database: { status: 'up' } } })
})

test('the status names no host, no user and no secret', async (t) => {
  const app = await build(t)
  const { body } = await app.inject('/status')
  const { hostname, port, password } = new URL(settings.DATABASE_URL!)
  for (const secret of [`"${hostname}`, `:${port}/`, password, settings.REFRESH_TOKEN_SECRET!]) t.notMatch(body, secret)
})

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { test, type Test } from 'tap'
import { alert, notification } from '../alertmanager.ts'
import { eventually } from '../eventually.ts'
import { build, databaseUrl, HURRIED, PASSWORD, signUp } from '../helper.ts'
import { startProxy } from '../proxy.ts'
import { connected, startRedis } from '../redis.ts'
import type { FastifyInstance, InjectOptions } from 'fastify'

type Account = Awaited<ReturnType<typeof signUp>>
type Column = typeof COLUMNS[number]

const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')
const COLUMNS = ['PostgreSQL is away', 'Redis is away', 'Both are away'] as const
const STALE_MS = 900
const PATIENCE_MS = 15_000
// Three seconds where nobody else wants the processor.
const WITHIN_MS = 6000

/** Good requests, each by an account of its own. What is not here asks for nothing more than its path. */
const requests: Record<string, (account: Account) => InjectOptions> = {
  'POST /auth/register': ({ email }) => ({ payload: { email: `another-${email}`, password: PASSWORD } }),
  'POST /auth/login': ({ email }) => ({ payload: { email, password: PASSWORD } }),
  'POST /auth/refresh': ({ refreshToken }) => ({ payload: { refreshToken } }),
  'POST /auth/logout': ({ headers }) => ({ headers }),
  'GET /me': ({ headers }) => ({ headers }),
  'PATCH /me': ({ headers }) => ({ headers, payload: { displayName: 'Ada Lovelace' } }),
  'DELETE /me': ({ headers }) => ({ headers, payload: { password: PASSWORD } }),
  'PUT /me/password': ({ headers }) => ({ headers, payload: { currentPassword: PASSWORD, newPassword: 'another battery staple' } }),
  'GET /me/sessions': ({ headers }) => ({ headers }),
  'DELETE /me/sessions': ({ headers }) => ({ headers }),
  'POST /alerts/webhook': () => ({ payload: notification(alert()) }),
  'DELETE /me/sessions/{id}': ({ headers, accessToken }) => ({ headers, url: `/me/sessions/${sessionOf(accessToken)}` })
}
const sessionOf = (accessToken: string) => JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString()).sid

/** The table of the README: which statuses an operation answers with, one after another, by what is away. */
function promises (): Map<string, Record<Column, number[]>> {
  const [, section = ''] = README.split(/^## When a dependency is away$/m)
  const rows = section.split(/^## /m)[0]!.split('\n').filter((line) => line.startsWith('|')).map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()))
  const [[, ...columns] = [], , ...body] = rows
  if (columns.join() !== COLUMNS.join()) throw new Error(`the table has other columns: ${columns}`)
  return new Map(body.flatMap(([operations = '', ...cells]) => {
    const statuses = Object.fromEntries(COLUMNS.map((column, i) => [column, (cells[i]!.match(/\b[1-5]\d\d\b/g) ?? []).map(Number)])) as Record<Column, number[]>
    return [...operations.matchAll(/`([A-Z]+ [^`]+)`/g)].map(([, operation]) => [operation!, statuses] as const)
  }))
}

test('the table of the README has a row for every operation, and no other', async (t) => {
  const app = await build(t)
  t.same([...promises().keys()].sort(), (await operationsOf(app)).sort())
})

for (const [what, mode] of [['refuse', 'refuse'], ['are silent', 'swallow']] as const) {
  test(`every operation answers what the README says, within three seconds, where servers ${what}`, async (t) => {
    const redis = await startRedis(t)
    const operations = [...promises().keys()]
    await Promise.all(COLUMNS.map(async (column) => {
      const [database, cache] = [await startProxy(t, databaseUrl), await startProxy(t, redis.url)]
      const app = await build(t, { DATABASE_URL: database.url, REDIS_URL: cache.url, ...column !== 'Redis is away' && HURRIED })
      await connected(app)
      const accounts: Account[] = []
      while (accounts.length < operations.length) accounts.push(await signUp(app))
      if (column !== 'PostgreSQL is away') await cache.set(mode)
      if (column !== 'Redis is away') {
        await database.set(mode)
        await eventually(() => app.revocations.age > STALE_MS)
      }
      await Promise.all(operations.map((operation, i) => answersAs(t, app, { operation, column, account: accounts[i]! })))
    }))
  })
}

async function answersAs (t: Test, app: FastifyInstance, { operation, column, account }: { operation: string, column: Column, account: Account }) {
  const [method, url] = operation.split(' ') as ['GET', string]
  const expected = promises().get(operation)?.[column] ?? []
  const seen = new Set<number>()
  let slowestMs = 0
  const ask = async () => {
    const startedAt = performance.now()
    const { statusCode, headers } = await app.inject({ method, url, ...requests[operation]?.(account) })
    slowestMs = Math.max(slowestMs, performance.now() - startedAt)
    if (statusCode === 503 && headers['retry-after'] === undefined) t.fail(`${operation} does not say when to come again`)
    seen.add(statusCode)
    return statusCode === expected.at(-1)
  }
  if (expected.length > 1) await eventually(ask, PATIENCE_MS)
  else await ask()
  const others = [...seen].filter((status) => !expected.includes(status))
  t.same(others, [], `${column}: ${operation} answers ${expected.join(', then ')}`)
  t.ok(slowestMs <= WITHIN_MS, `within ${Math.round(slowestMs)} ms`)
}

async function operationsOf (app: FastifyInstance) {
  return Object.entries((await app.openapi()).paths!).flatMap(([path, methods]) => Object.keys(methods!).map((method) => `${method.toUpperCase()} ${path}`))
}

import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { KEEP_SECONDS } from '../../../plugins/revocations/memory.ts'
import { eventually } from '../../eventually.ts'
import { bearer, build, databaseUrl, logIn, PASSWORD, post, signUp, sql } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import type { FastifyInstance } from 'fastify'

const BOUND_MS = 1000
type Headers = Record<string, string>
const me = (app: FastifyInstance, headers: Headers) => app.inject({ url: '/me', headers })
const sessionOf = ({ authorization = '' }: Headers) => JSON.parse(Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString()).sid as string

const ends = {
  logout: (app: FastifyInstance, email: string, headers: Headers) => app.inject({ method: 'POST', url: '/auth/logout', headers }),
  'sign-out of one device by another': async (app: FastifyInstance, email: string, headers: Headers) => {
    const other = await logIn(app, email)
    return app.inject({ method: 'DELETE', url: `/me/sessions/${sessionOf(headers)}`, headers: other.headers })
  },
  'sign-out of all others': async (app: FastifyInstance, email: string) => {
    const other = await logIn(app, email)
    return app.inject({ method: 'DELETE', url: '/me/sessions', headers: other.headers })
  },
  'password change': async (app: FastifyInstance, email: string) => {
    const other = await logIn(app, email)
    const payload = { currentPassword: PASSWORD, newPassword: 'another battery staple' }
    return app.inject({ method: 'PUT', url: '/me/password', payload, headers: other.headers })
  },
  'account deletion': (app: FastifyInstance, email: string, headers: Headers) =>
    app.inject({ method: 'DELETE', url: '/me', payload: { password: PASSWORD }, headers })
}

test('a session that ends on one replica is refused by another within a second', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  for (const [what, end] of Object.entries(ends)) {
    const tookMs: number[] = []
    for (let round = 0; round < 5; round++) {
      const { email, headers } = await signUp(a)
      t.equal((await me(b, headers)).statusCode, 200)
      const answer = await end(a, email, headers)
      const endedAt = performance.now()
      t.equal(answer.statusCode, 204, what)
      t.equal((await me(a, headers)).statusCode, 401, 'at once where it ended')
      await eventually(async () => await b.revocations.isRevoked(sessionOf(headers)), BOUND_MS)
      t.match(await me(b, headers), { statusCode: 401, body: /"code":"UNAUTHORIZED"/ })
      tookMs.push(Math.round(performance.now() - endedAt))
    }
    t.comment(`${what}: ${Math.max(...tookMs)} ms at most, ${tookMs}`)
  }
})

test('a session that is not ended goes on everywhere', async (t) => {
  const [a, b] = [await build(t), await build(t)]
  const { email, headers } = await signUp(a)
  const other = await logIn(a, email)
  t.equal((await a.inject({ method: 'DELETE', url: '/me/sessions', headers: other.headers })).statusCode, 204)
  await eventually(async () => (await me(b, headers)).statusCode === 401, BOUND_MS)

  t.equal((await me(b, other.headers)).statusCode, 200)
})

for (const mode of ['refuse', 'swallow'] as const) {
  test(`a replica whose database is ${mode === 'refuse' ? 'away' : 'silent'} answers 503, never 401, and lets no ended session in`, async (t) => {
    const proxy = await startProxy(t, databaseUrl)
    const lines: string[] = []
    const a = await build(t)
    const b = await build(t, { DATABASE_URL: proxy.url, LOG_LEVEL: 'info' }, { stream: { write: (line) => lines.push(line) } })
    const [ended, alive] = [await signUp(a), await signUp(a)]
    for (const { headers } of [ended, alive]) t.equal((await me(b, headers)).statusCode, 200)
    await proxy.set(mode)
    const before = lines.length
    const startedAt = performance.now()
    t.equal((await post(a, '/auth/logout', {}, ended.headers)).statusCode, 204)

    const closedMs = await eventually(async () => await verdict(b, ended.headers) === 503, BOUND_MS + 300)
    t.comment(`nobody is let in after ${closedMs} ms`)
    while (performance.now() - startedAt < 3000) {
      for (const { headers } of [ended, alive]) t.equal(await verdict(b, headers), 503)
      const answer = await me(b, alive.headers)
      t.match(answer, { statusCode: 503, headers: { 'retry-after': '1' }, body: /"code":"SERVICE_UNAVAILABLE"/ })
    }
    await proxy.set('pass')
    const backMs = await eventually(async () => (await me(b, alive.headers)).statusCode === 200, BOUND_MS)
    t.comment(`good again ${backMs} ms after the return`)
    t.equal((await me(b, ended.headers)).statusCode, 401)
    t.equal((await me(b, bearer(alive.accessToken))).statusCode, 200)
    const readAgain = () => lines.findIndex((line, i) => i >= before && line.includes('"msg":"the revocation feed is read again"'))
    await eventually(() => readAgain() > 0)
    t.equal(lines.slice(before, readAgain()).filter((line) => line.includes('"msg":"the revocation feed cannot be read"')).length, 1, 'logged once')
  })
}

test('rows that are older than any token are purged, and younger ones are not', async (t) => {
  const [old, young] = [await revokedAgo(t, KEEP_SECONDS + 5), await revokedAgo(t, KEEP_SECONDS - 60)]
  await build(t)
  await eventually(async () => (await remaining(old)).length === 0)

  t.same(await remaining(young), [{ id: young }])
})

test('a purge that fails is logged and disturbs nothing', async (t) => {
  await revokedAgo(t, KEEP_SECONDS + 5)
  await sql(`
    create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
    create trigger refuse before delete on revocations execute function refuse()`)
  t.teardown(() => sql('drop function refuse() cascade'))
  const lines: string[] = []
  const app = await build(t, { LOG_LEVEL: 'warn' }, { stream: { write: (line) => lines.push(line) } })
  await eventually(() => lines.some((line) => line.includes('"msg":"old revocations could not be purged"')))

  const { headers } = await signUp(app)
  t.equal((await me(app, headers)).statusCode, 200)
})

/** What the check of a session says, as a status. */
async function verdict ({ revocations }: FastifyInstance, headers: Headers) {
  try {
    return await revocations.isRevoked(sessionOf(headers)) ? 401 : 200
  } catch (error) {
    return (error as { statusCode?: number }).statusCode
  }
}

async function revokedAgo (t: { teardown: (undo: () => Promise<unknown>) => void }, seconds: number) {
  const id = randomUUID()
  await sql('insert into revocations (session_id, at) values ($1, now() - make_interval(secs => $2))', [id, seconds])
  t.teardown(() => sql('delete from revocations where session_id = $1', [id]))
  return id
}

const remaining = (id: string) => sql('select session_id as id from revocations where session_id = $1', [id])

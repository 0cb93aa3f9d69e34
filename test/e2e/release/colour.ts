import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { randomBytes, randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient, type Question } from '../../chaos/stops/client.ts'
import { ending } from '../../chaos/stops/server.ts'
import { PASSWORD, settings } from '../../helper.ts'
import { ready, start } from '../../processes.ts'
import { versionOf } from './tree.ts'
import type { Test } from 'tap'

export type Env = Record<string, string | undefined>
type Server = ReturnType<typeof start>

/** Two more processes start on the cores that serve, and what is rehearsed is not their number. A table that is locked for longer still fails requests. */
export const PATIENCE = { DB_CONNECT_TIMEOUT: '10000', DB_QUERY_TIMEOUT: '4000' }
const UNSET = ['DATABASE_URL', 'JWT_KEYS', 'REFRESH_TOKEN_SECRET', 'ARGON2_MEMORY', 'ARGON2_TIME', 'REQUEST_TIMEOUT', 'SHUTDOWN_TIMEOUT']

/** Settings of production, secrets as files; limits out of the way. */
export async function productionSettings (t: Test, { databaseUrl, redisUrl }: { databaseUrl: string, redisUrl: string }): Promise<Env> {
  const folder = await mkdtemp(join(tmpdir(), 'secrets-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const secret = async (name: string, value: string) => {
    await writeFile(join(folder, name), value, { mode: 0o600 })
    return join(folder, name)
  }
  return {
    ...settings,
    ...Object.fromEntries(UNSET.map((name) => [name, undefined])),
    NODE_ENV: 'production',
    HOST: '127.0.0.1',
    LOG_LEVEL: 'info',
    ...PATIENCE,
    MIGRATE_ON_START: 'false',
    JWT_ISSUER: 'https://id.example.com',
    TRUSTED_PROXIES: '127.0.0.1/32',
    DATABASE_URL_FILE: await secret('database-url', databaseUrl),
    REDIS_URL_FILE: await secret('redis-url', redisUrl),
    JWT_KEYS_FILE: await secret('jwt-keys', settings.JWT_KEYS!),
    REFRESH_TOKEN_SECRET_FILE: await secret('refresh-token-secret', randomBytes(48).toString('base64url')),
    OPS_TOKEN_FILE: await secret('ops-token', randomBytes(48).toString('base64url'))
  }
}

/** The replicas of a release, one on each of these ports, which traffic may come to. */
export async function startColour (t: Test, tree: string, ports: number[], env: Env) {
  const launch = (port: number) => start(t, join(tree, 'server.ts'), [], { ...env, PORT: String(port) })
  const replicas = ports.map(launch)
  await Promise.all(replicas.map(ready))

  return {
    origins: ports.map((port) => `http://127.0.0.1:${port}`),

    /** One goes in good order, and another one takes its place. */
    async replace () {
      const end = await ending(replicas[0]!)
      replicas[0] = launch(ports[0]!)
      await ready(replicas[0])
      return end
    },

    /** Ends all of them in good order. */
    drain: () => Promise.all(replicas.map((replica: Server) => ending(replica)))
  }
}

/** What is asked of each replica, past nginx, before it gets traffic; throws where an answer is another one. */
export async function check (t: Test, tree: string, origins: string[]) {
  const ask = createClient(t)
  const version = await versionOf(tree)
  for (const origin of origins) {
    const expect = async (status: number, question: Question) => {
      const answer = await ask(origin, question)
      if (answer.status !== status) throw new Error(`${question.method ?? 'GET'} ${question.path} answered ${answer.status} in place of ${status}`)
      return answer.body
    }
    await expect(200, { path: '/ready' })
    const api = await expect(200, { path: '/api' })
    if (api.version !== version) throw new Error(`it is ${api.version}, not ${version}`)
    await live(expect)
  }
}

/** Everything that somebody does with an account. */
async function live (expect: (status: number, question: Question) => Promise<any>) {
  const credentials = { email: `smoke-${randomUUID()}@example.com`, password: PASSWORD }
  const { accessToken, refreshToken } = await expect(201, { method: 'POST', path: '/auth/register', body: credentials })
  const other = await expect(200, { method: 'POST', path: '/auth/login', body: credentials })
  const { accessToken: token } = await expect(200, { method: 'POST', path: '/auth/refresh', body: { refreshToken } })
  await expect(200, { method: 'PATCH', path: '/me', token, body: { displayName: 'Ada' } })
  const { user } = await expect(200, { path: '/me', token })
  if (user.displayName !== 'Ada') throw new Error('the change is not there')
  const { sessions } = await expect(200, { path: '/me/sessions', token })
  if (sessions.length !== 2) throw new Error(`${sessions.length} sessions in place of 2`)
  await expect(204, { method: 'PUT', path: '/me/password', token, body: { currentPassword: PASSWORD, newPassword: `${PASSWORD}!` } })
  await expect(401, { path: '/me', token: other.accessToken })
  await expect(200, { path: '/me', token: accessToken })
  await expect(204, { method: 'POST', path: '/auth/logout', token })
  await expect(401, { method: 'POST', path: '/auth/login', body: credentials })
  const last = await expect(200, { method: 'POST', path: '/auth/login', body: { ...credentials, password: `${PASSWORD}!` } })
  await expect(204, { method: 'DELETE', path: '/me', token: last.accessToken, body: { password: `${PASSWORD}!` } })
}

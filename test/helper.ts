import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import { build as buildApp } from '../app.ts'
import { loadConfig } from '../plugins/config/index.ts'
import { observed } from './observe.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

type Env = Record<string, string | undefined>
type Options = { stream?: { write: (line: string) => void } }

const { TEST_DATABASE_URL: admin, TEST_DATABASE_TEMPLATE: template } = process.env
if (!admin) throw new Error('TEST_DATABASE_URL is not set: run the tests with `npm test`, or one file with `node test/run.ts --disable-coverage test/routes/me/sessions.test.ts`')

const { privateKey } = generateKeyPairSync('ed25519')
const database = `test_${process.pid}_${randomBytes(4).toString('hex')}`

/** A database of this test file, migrated, which is gone with the server. */
export const databaseUrl = Object.assign(new URL(admin), { pathname: `/${database}` }).href
await withClient(admin, (client) => client.query(`create database ${database} template ${template ?? 'template1'}`))

/** What the tests run with: production's code, limits out of the way, hashes that cost little. */
export const settings: Env = {
  NODE_ENV: 'test',
  LOG_LEVEL: 'fatal',
  DATABASE_URL: databaseUrl,
  MIGRATE_ON_START: String(!template),
  JWT_KEYS: JSON.stringify({ keys: [privateKey.export({ format: 'jwk' })] }),
  JWT_ISSUER: 'http://localhost:3000',
  REFRESH_TOKEN_SECRET: randomBytes(48).toString('base64url'),
  ARGON2_MEMORY: '64',
  ARGON2_TIME: '1',
  HASH_QUEUE_TIMEOUT: '60000',
  MAX_EVENT_LOOP_DELAY: '60000',
  REQUEST_TIMEOUT: '60000',
  SHUTDOWN_TIMEOUT: '120000',
  RATE_LIMIT_MAX: '100000',
  RATE_LIMIT_USER_MAX: '100000',
  RATE_LIMIT_LOGIN_MAX: '100000',
  RATE_LIMIT_LOGIN_ADDRESS_MAX: '100000',
  RATE_LIMIT_REGISTER_MAX: '100000',
  RATE_LIMIT_REFRESH_MAX: '100000',
  RATE_LIMIT_ACCOUNT_MAX: '100000'
}

/** The time that PostgreSQL has where it is there, however busy the machine is with the rest of the suite. */
export const PATIENT = { DB_CONNECT_TIMEOUT: '20000', DB_QUERY_TIMEOUT: '20000' }
/** Nothing else of a service is hurried either. */
export const UNHURRIED = { ...PATIENT, HASH_QUEUE_TIMEOUT: '20000', MAX_EVENT_LOOP_DELAY: '20000', REQUEST_TIMEOUT: '60000', SHUTDOWN_TIMEOUT: '120000' }
/** The time that PostgreSQL has in production, where it is silent. */
export const HURRIED = { DB_CONNECT_TIMEOUT: undefined, DB_QUERY_TIMEOUT: undefined }

/** The real service on a real database that has its time, ready, watched, and closed when the test ends. Built twice it is two replicas. */
export async function build (t: Test, env: Env = {}, options: Options = {}): Promise<FastifyInstance> {
  const app = await observed(t, () => buildApp(loadConfig({ ...settings, ...PATIENT, ...env }), options))
  t.teardown(() => app.close())
  await app.ready()
  await app.health.risen
  return app
}

export const PASSWORD = 'correct horse battery staple'

/** A new user with an open session. */
export async function signUp (app: FastifyInstance, email = `user-${randomUUID()}@example.com`) {
  const response = await post(app, '/auth/register', { email, password: PASSWORD })
  if (response.statusCode !== 201) throw new Error(`register answered ${response.statusCode} ${response.body}`)
  const { user, accessToken, refreshToken } = response.json()
  return { user, email, accessToken, refreshToken, headers: bearer(accessToken) }
}

/** One more session of a user. */
export async function logIn (app: FastifyInstance, email: string, password = PASSWORD) {
  const response = await post(app, '/auth/login', { email, password })
  if (response.statusCode !== 200) throw new Error(`login answered ${response.statusCode} ${response.body}`)
  const { accessToken, refreshToken } = response.json()
  return { accessToken, refreshToken, headers: bearer(accessToken) }
}

export const post = (app: FastifyInstance, url: string, payload: object, headers: Record<string, string> = {}) =>
  app.inject({ method: 'POST', url, payload, headers })

export const bearer = (accessToken: string) => ({ authorization: `Bearer ${accessToken}` })

/** SQL in the database of this test file, past the service. */
export async function sql<Row extends pg.QueryResultRow> (text: string, values?: unknown[]): Promise<Row[]> {
  return withClient(databaseUrl, async (client) => (await client.query<Row>(text, values)).rows)
}

/** Takes all out of it, as if no migration had run. */
export const emptyDatabase = () => sql('drop schema public cascade; create schema public')

async function withClient<Result> (connectionString: string, use: (client: pg.Client) => Promise<Result>) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

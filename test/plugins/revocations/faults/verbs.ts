import { performance } from 'node:perf_hooks'
import pg from 'pg'
import { eventually } from '../../../eventually.ts'
import { databaseUrl, logIn, PASSWORD, post, signUp } from '../../../helper.ts'
import type { Fleet } from './fleet.ts'
import type { Ledger, Session } from './ledger.ts'

/** A way to end sessions: which ones, which ones not, and what the answer is when it is done. */
export type Attempt = { what: string, ending: Session[], staying: Session[], done: number, act: () => Promise<number>, isTold?: false, changesAccount?: true }
type Prepare = (fleet: Fleet, ledger: Ledger) => Promise<Omit<Attempt, 'what'>>

const PASSWORDS = { currentPassword: PASSWORD, newPassword: 'another battery staple' }

/** All ways at once, each for sessions of its own. */
export async function prepare (fleet: Fleet, ledger: Ledger, isByHand: boolean): Promise<Attempt[]> {
  const ways = Object.entries(isByHand ? { ...verbs, ...operations } : verbs)
  return Promise.all(ways.map(async ([what, prepare]) => ({ what, ...await prepare(fleet, ledger) })))
}

/** Those of the service, asked of A. */
const verbs: Record<string, Prepare> = {
  async logout ({ a: { app } }, ledger) {
    const { ending, staying } = await household(app, ledger)
    return { ending: [ending], staying, done: 204, act: () => status(post(app, '/auth/logout', {}, ending.headers)) }
  },

  async 'sign-out of one device' ({ a: { app } }, ledger) {
    const { ending, staying: [other] } = await household(app, ledger)
    return { ending: [ending], staying: [other], done: 204, act: () => status(app.inject({ method: 'DELETE', url: `/me/sessions/${ending.id}`, headers: other.headers })) }
  },

  async 'sign-out of all others' ({ a: { app } }, ledger) {
    const { ending, staying: [other] } = await household(app, ledger)
    return { ending: [ending], staying: [other], done: 204, act: () => status(app.inject({ method: 'DELETE', url: '/me/sessions', headers: other.headers })) }
  },

  async 'password change' ({ a: { app } }, ledger) {
    const { ending, staying: [other] } = await household(app, ledger)
    return { ending: [ending], staying: [other], done: 204, act: () => status(app.inject({ method: 'PUT', url: '/me/password', payload: PASSWORDS, headers: other.headers })), changesAccount: true }
  },

  async 'account deletion' ({ a: { app } }, ledger) {
    const { ending, staying: [other] } = await household(app, ledger)
    return { ending: [ending, other], staying: [], done: 204, act: () => status(app.inject({ method: 'DELETE', url: '/me', payload: { password: PASSWORD }, headers: other.headers })), changesAccount: true }
  },

  async 'one login too many' ({ a: { app } }, ledger) {
    const { ending, staying: [other] } = await household(app, ledger)
    const last = ledger.note(ending.email, await logIn(app, ending.email))
    return { ending: [ending], staying: [other, last], done: 200, act: () => status(post(app, '/auth/login', { email: ending.email, password: PASSWORD })) }
  },

  async 'a refresh token used twice' ({ a: { app } }, ledger) {
    const { ending, staying } = await household(app, ledger)
    const { refreshToken: stolen } = ending
    for (let i = 0; i < 2; i++) ledger.renew(ending, (await post(app, '/auth/refresh', { refreshToken: ending.refreshToken })).json())
    return { ending: [ending], staying, done: 401, act: () => status(post(app, '/auth/refresh', { refreshToken: stolen })) }
  }
}

/** Those of an operator, in SQL. No replica speaks for them, so that one that is cut off hears of them from others. */
const operations: Record<string, Prepare> = {
  async disabling ({ a: { app } }, ledger) {
    const { ending, staying: [other] } = await household(app, ledger)
    return { ending: [ending, other], staying: [], done: 0, isTold: false, changesAccount: true, act: () => transaction((client) => disable(client, ending.email)) }
  },

  async 'disabling that commits late' (fleet, ledger) {
    const { ending, staying: [other] } = await household(fleet.a.app, ledger)
    const overtaking = ledger.note('', await signUp(fleet.a.app))
    const act = () => transaction(async (client) => {
      await disable(client, ending.email)
      await post(fleet.a.app, '/auth/logout', {}, overtaking.headers)
      ledger.end(overtaking, false)
      await Promise.all(fleet.replicas.filter(({ knowsSince }) => knowsSince < Infinity).map(readAnew))
    })
    return { ending: [ending, other], staying: [], done: 0, isTold: false, changesAccount: true, act }
  }
}

/** A user with two sessions. */
async function household (app: Fleet['a']['app'], ledger: Ledger) {
  const { email, ...first } = await signUp(app)
  const other = ledger.note(email, await logIn(app, email))
  return { ending: ledger.note(email, first), staying: [other] as [Session] }
}

const status = async (answer: PromiseLike<{ statusCode: number }>) => (await answer).statusCode

async function disable (client: pg.Client, email: string) {
  const { rows: [user] } = await client.query('update users set disabled_at = now(), epoch = epoch + 1 where email = $1 returning id', [email])
  await client.query(`
    with revoked as (update sessions set revoked_at = now(), revoked_reason = 'disabled' where user_id = $1 and revoked_at is null returning id)
    insert into revocations (session_id) select id from revoked`, [user.id])
}

async function transaction (work: (client: pg.Client) => Promise<unknown>) {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  await client.query('begin')
  await work(client)
  await client.query('commit')
  await client.end()
  return 0
}

/** Fulfilled when what it knows was asked for after now. */
async function readAnew ({ app: { revocations } }: Fleet['a']) {
  const since = performance.now()
  await eventually(() => revocations.age < performance.now() - since)
}

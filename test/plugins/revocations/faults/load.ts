import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../../eventually.ts'
import { PASSWORD, post, signUp } from '../../../helper.ts'
import type { Fleet, Replica } from './fleet.ts'
import type { Ledger, Session } from './ledger.ts'

type Ask = (app: Replica['app']) => PromiseLike<{ statusCode: number, json: () => any }>

const PAUSE_MS = 20
const PATIENCE_MS = 30_000
const LATELY = 20

/** Clients that sign in, look, refresh and sign out, at one replica after another, and at each replica some that ask for sessions of all kinds. */
export async function startLoad ({ replicas, a }: Fleet, ledger: Ledger) {
  const [resident, ...users] = await Promise.all([a, ...replicas].map(({ app }) => signUp(app)))
  ledger.note(resident!.email, resident!)
  const end = new AbortController()
  let turn = 0
  const work = [
    ...users.map(({ email }) => live(email)),
    ...replicas.flatMap((replica) => [watch(replica, me(replica)), watch(replica, verdict(replica)), watch(replica, verdict(replica))])
  ]

  return {
    /** Lets the clients end what they are at. */
    async stop () {
      end.abort()
      await Promise.all(work)
    }
  }

  async function live (email: string) {
    const nobody = ledger.nobody(email)
    while (!end.signal.aborted) {
      const session = ledger.note(email, await insist(nobody, 200, (app) => post(app, '/auth/login', { email, password: PASSWORD })))
      await insist(session, 200, (app) => app.inject({ url: '/me', headers: session.headers }))
      ledger.renew(session, await insist(session, 200, (app) => post(app, '/auth/refresh', { refreshToken: session.refreshToken })))
      await insist(session, 200, (app) => app.inject({ url: '/me', headers: session.headers }))
      session.state = 'in doubt'
      await insist(session, 204, (app) => post(app, '/auth/logout', {}, session.headers))
      ledger.end(session, false)
    }
  }

  /** Tries again elsewhere, as a client would. */
  async function insist (session: Session, success: number, ask: Ask) {
    let answer: Awaited<ReturnType<Ask>>
    await eventually(async () => {
      const replica = replicas[turn++ % replicas.length]!
      const sentAt = performance.now()
      answer = await ask(replica.app)
      ledger.sample(replica, session, sentAt, answer.statusCode)
      await delay(PAUSE_MS)
      return answer.statusCode === success
    }, PATIENCE_MS)
    return success === 204 ? undefined : answer!.json()
  }

  async function watch (replica: Replica, ask: (session: Session) => Promise<number>) {
    for (let i = 0; !end.signal.aborted; i++) {
      const sessions = [...ledger.in('alive'), ...ledger.in('in doubt'), ...ledger.in('ended').slice(-LATELY)]
      const session = sessions[i % sessions.length]!
      const sentAt = performance.now()
      ledger.sample(replica, session, sentAt, await ask(session))
      await delay(PAUSE_MS)
    }
  }
}

const me = ({ app }: Replica) => async ({ headers }: Session) => (await app.inject({ url: '/me', headers })).statusCode
const verdict = (replica: Replica) => ({ id }: Session) => replica.verdict(id)

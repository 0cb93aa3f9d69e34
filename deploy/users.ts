import { runCommand, write, type Values, type Verb } from './command.ts'
import { ask, firstLine } from './terminal.ts'
import { ConfigFault, loadConfig } from '../plugins/config/index.ts'
import { stateFolder } from '../plugins/config/state-folder.ts'
import type { FastifyInstance } from 'fastify'

const HELP = `Usage: npm run users -- show | disable | enable | revoke | set-password | delete EMAIL     (in the image: node deploy/users.ts …)

  show           who it is, and the live sessions; with --json for programs
  disable        refuse logins and end all sessions
  enable         let the account log in again; the sessions it had stay dead
  revoke         end all sessions
  set-password   take a new password from the terminal or the first line of a pipe, and end all sessions
  delete         delete the account and all that belongs to it; without a terminal it needs --yes

The settings are those of the service, which need not be running. Every replica knows within a second.
`
const UNDEFINED_TABLE = '42P01'

type App = FastifyInstance
type User = NonNullable<Awaited<ReturnType<App['users']['find']>>>

process.exitCode = await runCommand({
  help: HELP,
  options: { json: { type: 'boolean' }, yes: { type: 'boolean', short: 'y' } },
  verbs: {
    show: { ...forUser(show), options: ['json'] },
    disable: forUser(async (app, { id, email }) => {
      await app.users.disable(id)
      return `${email} is disabled, and its sessions have ended`
    }),
    enable: forUser(async (app, { id, email }) => {
      await app.users.enable(id)
      return `${email} may log in again`
    }),
    revoke: forUser(async (app, { id, email }) => {
      await app.sessions.revokeAll(id, { reason: 'revoked by an operator' })
      return `the sessions of ${email} have ended`
    }),
    'set-password': forUser(setPassword),
    delete: { ...forUser(remove), options: ['yes'] }
  },
  sentenceOf
})

/** Does something to the account of an address, with the service's own verbs: built but not started, it neither listens nor migrates. */
function forUser (act: (app: App, user: User, values: Values) => Promise<string>): Verb {
  return {
    operands: 1,
    async run ([email = ''], values) {
      const { app, stop } = await open()
      try {
        const user = await app.users.find(email)
        if (!user) throw new Error(`There is no account of ${email}`)
        write(await act(app, user, values))
      } finally {
        await stop()
      }
    }
  }
}

async function open () {
  const settings = loadConfig(process.env)
  const embedded = settings.DATABASE_URL ? undefined : await joinEmbedded()
  const { build } = await import('../app.ts')
  const app = await build(Object.freeze({ ...settings, DATABASE_URL: settings.DATABASE_URL ?? embedded?.url, LOG_LEVEL: 'silent' }))
  return {
    app,
    async stop () {
      await app.close()
      await embedded?.stop()
    }
  }
}

async function joinEmbedded () {
  const { startEmbedded } = await import('../plugins/db/embedded.ts')
  return startEmbedded({ folder: stateFolder(process.env) })
}

async function show (app: App, user: User, { json }: Values) {
  const sessions = await app.sessions.list(user.id)
  if (json) return JSON.stringify({ ...user, sessions }, null, 2)
  const { id, email, displayName, createdAt, updatedAt, disabledAt } = user
  const rows = { id, email, displayName, created: createdAt, updated: updatedAt, disabled: disabledAt && `since ${disabledAt}`, sessions: String(sessions.length) }
  return [
    ...Object.entries(rows).map(([name, value]) => `${name.padEnd(11)}  ${printable(value)}`),
    ...sessions.map(({ id, createdAt, lastSeenAt, ip, userAgent }) => `  ${id}  created ${createdAt}  last seen ${lastSeenAt}  ${printable(ip)}  ${printable(userAgent)}`)
  ].join('\n')
}

// Others chose the text: nothing in it may speak to the terminal.
function printable (text: string | null) {
  return text?.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd') ?? '-'
}

async function setPassword (app: App, { id, email }: User) {
  const password = process.stdin.isTTY ? await askTwice(email) : await firstLine()
  if (password.includes('\0')) throw new Error('The password holds a NUL')
  await app.users.setPassword(id, password)
  return `${email} has the new password, and its sessions have ended`
}

async function askTwice (email: string) {
  const password = await ask(`New password of ${email}: `, { isSecret: true })
  if (await ask('Once more: ', { isSecret: true }) !== password) throw new Error('The two differ: nothing is changed')
  return password
}

async function remove (app: App, { id, email }: User, { yes }: Values) {
  if (!yes && !process.stdin.isTTY) throw new Error('Without a terminal, delete needs --yes')
  if (!yes && await ask(`Delete ${email} and all that belongs to it? Type yes: `) !== 'yes') throw new Error('Nothing is changed')
  await app.users.delete(id)
  return `${email} is deleted`
}

/** For the operator, who needs no stack. */
function sentenceOf (error: Error) {
  const { code, message, cause } = error as Error & { code?: string, cause?: Error & { code?: string } }
  if (error instanceof ConfigFault) return message
  if (code === 'VALIDATION_ERROR') return 'That is no e-mail address'
  if (cause?.code === UNDEFINED_TABLE) return 'The database is not migrated: npm run migrate -- up'
  if (code === 'SERVICE_UNAVAILABLE') return `The database cannot be reached: ${cause?.code?.startsWith('E') ? cause.code : cause?.message}`
  return message.split('\n', 1).join()
}

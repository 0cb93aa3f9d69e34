import { performance } from 'node:perf_hooks'
import { runCommand, write, type Values } from '../command.ts'
import { sentenceOfLeft } from './answers.ts'
import { planOf, sentenceOf, type Plan } from './plan.ts'
import { createRange } from './range.ts'
import { createService } from './service.ts'
import { createTally } from './tally.ts'
import type { VirtualUser } from './virtual-user.ts'

const HELP = `Usage: npm run load -- [--profile smoke] [--url http://127.0.0.1:3000] [--seconds N] [--yes]

  smoke    10 users for 30 s: does it work
  load     100 users for 5 minutes: an ordinary day
  stress   100 to 400 users for a minute each, and a flood of logins by twice as many: where it ends
  soak     50 users for an hour: does anything grow
  spike    a flood of logins by 1000 for a minute between quiet times: is it good again

Each user sends one request a second: 84 % GET /me, 8 % refresh, 4 % /health, 3 % login, 1 % registration, whose account is deleted again.
In a flood each logs in as soon as the answer to the last is there, once a second at most.
The answers are judged by the objectives of the alerts, and refusals of logins in stress and spike by how fast they are. Exit code 1: one is missed.
The users are made before and deleted after it, also after Ctrl-C; a second one says which are left.

  --seconds N   the same in N seconds
  --yes         the service is not on this machine, and nobody needs it: never production

The limits have to be out of the way of one address; deploy/PLAYBOOK.md (Load) has the settings. The same with k6: deploy/load/k6.ts.
`
const TIMES_TOLD = 30
const TWIN_MS = 250
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

const tell = (line: string) => process.stderr.write(`${line}\n`)
const options = { profile: { type: 'string' }, url: { type: 'string' }, seconds: { type: 'string' }, yes: { type: 'boolean', short: 'y' } } as const

process.exitCode = await runCommand({ help: HELP, options, verbs: { '': { options: Object.keys(options), run: load } } })

async function load (_: string[], { profile, url, seconds, yes }: Values) {
  const plan = planOf({ profile, url, seconds, isSure: Boolean(yes) } as Parameters<typeof planOf>[0])
  const interrupted = new AbortController()
  const abandoned = new AbortController()
  const service = createService(plan.origin, abandoned.signal)
  tell(sentenceOf(plan, await service.look()))

  hear(interrupted, abandoned)
  const users: VirtualUser[] = []
  const failure: Error | undefined = await service.makeUsers(plan.users, users, interrupted.signal)
    .then(() => run(plan, users, interrupted.signal)).catch((error) => error)

  const accounts = users.flatMap((user) => user.accounts)
  tell(`${accounts.length} accounts are deleted`)
  const left = await service.remove(accounts)
  const sentences = [failure?.message, left.length > 0 && sentenceOfLeft(left)].filter(Boolean)
  if (sentences.length > 0) throw new Error(sentences.join('. '))
}

/** A first signal ends the load, a second one what is done after it. What npm passes on of a Ctrl-C, beside the terminal, is no second one. */
function hear (interrupted: AbortController, abandoned: AbortController) {
  let heardAt: number | undefined
  const take = () => {
    const now = performance.now()
    heardAt ??= now
    interrupted.abort()
    if (now - heardAt > TWIN_MS) abandoned.abort()
  }
  for (const name of SIGNALS) process.on(name, take)
}

/** Sends what is planned, tells how it goes, and shows what came of it. */
async function run (plan: Plan, users: VirtualUser[], interrupted: AbortSignal) {
  const tally = createTally(plan)
  const begunAt = performance.now()
  const elapsedSeconds = () => (performance.now() - begunAt) / 1000
  const timer = setInterval(() => tell(`  ${Math.round(elapsedSeconds())} s: ${tally.brief()}`), Math.max(1000, 1000 * plan.seconds / TIMES_TOLD))
  const range = createRange(plan.origin, tally, interrupted)
  for (const stage of plan.stages) {
    if (range.isOver()) break
    tell(`  ${Math.round(elapsedSeconds())} s: ${stage.users} requests a second${stage.flood ? ` and logins of ${stage.flood}` : ''} for ${stage.seconds} s`)
    await range.fire(stage, users)
  }
  clearInterval(timer)

  const missed = tally.missed()
  write(tally.table(elapsedSeconds()))
  if (tally.limit) throw new Error(tally.limit)
  if (interrupted.aborted) throw new Error('Ended early: nothing is judged')
  write(`\n${tally.verdicts(missed)}`)
  if (missed.length > 0) throw new Error(`Missed: ${missed.join(', ')}`)
}

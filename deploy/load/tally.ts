import { createHistogram } from 'node:perf_hooks'
import { limitedBy } from './answers.ts'
import { ACTIONS, actionNames, objectiveNames, OBJECTIVES, type Action, type Objective } from './mix.ts'
import { judge, percent, promiseOf, type Plan } from './plan.ts'

type Answer = { status: number, ms: number, retryAfter?: string | undefined, policy?: string | undefined }

/** Counts what a run sends and gets, and judges it. */
export function createTally (plan: Plan) {
  const rows = new Map(actionNames.map((name) => [name, { times: createHistogram(), sent: 0, refused: 0, limited: 0, failed: 0 }]))
  const counts = new Map(objectiveNames.map((name) => [name, { judged: 0, missed: 0 }]))
  const failures = new Map<string, number>()
  let plannedSent = 0
  let limit: string | undefined

  return {
    /** Why the run cannot go on, once a limit has been met. */
    get limit () { return limit },

    sent (action: Action, { isPlanned }: { isPlanned: boolean }) {
      rows.get(action)!.sent++
      if (isPlanned) plannedSent++
    },

    /** Takes an answer, or that there was none (status 0). */
    take (action: Action, answer: Answer) {
      const row = rows.get(action)!
      const { kind, missed } = judge(action, answer, plan)
      // Refusals are quick: with them, the slower the service the quicker its logins would look.
      if (kind === 'good') row.times.record(Math.max(1, Math.round(answer.ms * 1000)))
      else row[kind]++
      if (kind === 'limited') limit ??= limitedBy(answer.policy)
      if (kind === 'failed') count(failures, `${nameOf(action)}: ${answer.status || 'no answer'}`)
      for (const [name, isMissed] of Object.entries(missed)) {
        const counted = counts.get(name as Objective)!
        counted.judged++
        if (isMissed) counted.missed++
      }
    },

    /** One line on the way. */
    brief () {
      const all = [...rows.values()]
      const total = (figure: 'sent' | 'refused' | 'limited' | 'failed') => all.reduce((sum, row) => sum + row[figure], 0)
      return `${total('sent')} requests, ${total('refused')} refused, ${total('failed')} failed, GET /me p99 ${milliseconds(rows.get('me')!.times.percentile(99))}`
    },

    /** Which objectives are missed; those that had nothing to judge are kept. */
    missed () {
      counts.set('schedule', { judged: plan.requests, missed: plan.requests - plannedSent })
      return objectiveNames.filter((name) => shareOf(name) > OBJECTIVES[name].budget)
    },

    table (seconds: number) {
      const lines = [...rows].filter(([, { sent }]) => sent > 0).map(([action, { times, sent, refused, limited, failed }]) =>
        [nameOf(action), sent, (sent / seconds).toFixed(1), ...[times.percentile(50), times.percentile(99), times.max].map(milliseconds), refused, limited, failed])
      return [
        ...columns([['', 'requests', 'a second', 'median', 'p99', 'longest', 'refused', '429', 'failed'], ...lines]),
        ...[...failures].map(([what, times]) => `  ${what}, ${times} times`)
      ].join('\n')
    },

    verdicts (missed: Objective[]) {
      return objectiveNames.filter((name) => counts.get(name)!.judged > 0)
        .map((name) => `${missed.includes(name) ? 'MISSED' : 'kept  '}  ${promiseOf(name)}: ${percent(1 - shareOf(name))}`).join('\n')
    }
  }

  function shareOf (name: Objective) {
    const { judged, missed } = counts.get(name)!
    return judged === 0 ? 0 : missed / judged
  }
}

const nameOf = (action: Action) => `${ACTIONS[action].method} ${ACTIONS[action].path}`
const milliseconds = (microseconds: number) => `${Math.round(microseconds / 1000)} ms`

function count (counts: Map<string, number>, what: string) {
  counts.set(what, (counts.get(what) ?? 0) + 1)
}

function columns (rows: (string | number)[][]) {
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => String(row[at]).length)))
  return rows.map((row) => row.map((cell, at) => at === 0 ? String(cell).padEnd(widths[at]!) : String(cell).padStart(widths[at]!)).join('  '))
}

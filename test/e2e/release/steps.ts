import { performance } from 'node:perf_hooks'
import { count } from '../../chaos/stops/server.ts'
import type { Sample } from '../../chaos/stops/load.ts'

type Step = { what: string, from: number, to: number, seen: string, fault: unknown }
export type Steps = ReturnType<typeof createSteps>

const HEADER = ['step', 'took', 'requests', 'failed', 'slowest', 'seen']

/** What was done one after another, how long each took, and what clients met meanwhile. */
export function createSteps (samples: () => Sample[], say: (text: string) => void) {
  const steps: Step[] = []

  return {
    get areGood () { return steps.every(({ fault }) => !fault) },

    /** Does it, and says what was seen of it. One that fails is the last. */
    async take (what: string, act: () => Promise<string | void>) {
      const step: Step = { what, from: performance.now(), to: Infinity, seen: '', fault: undefined }
      steps.push(step)
      say(`${what} … `)
      try {
        step.seen = await act() ?? ''
      } catch (error) {
        step.fault = error
        step.seen = `FAILED: ${(error as Error).message}`
        throw error
      } finally {
        step.to = performance.now()
        say(`${took(step)}${step.seen && `, ${step.seen}`}\n`)
      }
    },

    table () {
      const all = samples()
      const rows = steps.map((step) => {
        const during = all.filter(({ sentAt }) => sentAt >= step.from && sentAt < step.to)
        return [step.what, took(step), ...figures(during), step.seen]
      })
      const whole = { from: steps[0]!.from, to: steps.at(-1)!.to }
      return [HEADER, ...rows, ['in all', took(whole), ...figures(all), '']]
    }
  }
}

export const failedOf = (samples: Sample[]) => samples.filter(({ isGood }) => !isGood)

function figures (samples: Sample[]) {
  const slowest = Math.round(Math.max(0, ...samples.map(({ ms }) => ms)))
  return [count(samples.length), count(failedOf(samples).length), samples.length > 0 ? `${slowest} ms` : '']
}

const took = ({ from, to }: Pick<Step, 'from' | 'to'>) => `${((to - from) / 1000).toFixed(1)} s`

export function asText (rows: string[][]) {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => row.map((cell, column) => isFigure(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)).join('  ').trimEnd()).join('\n')
}

export function asMarkdown ([header, ...rows]: string[][]) {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(header!), line(header!.map((_, column) => isFigure(column) ? '---:' : '---')), ...rows.map(line)].join('\n')
}

const isFigure = (column: number) => column > 0 && column < 5

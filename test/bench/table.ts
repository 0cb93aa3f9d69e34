import * as columns from './columns.ts'
import type { Figure } from './rounds.ts'

type Named = [row: string, subject: string]
/** A figure, or its ratio to another one, and what it should be at least or at most. */
export type Target = { what: string, of: Named, by?: Named, least?: number, most?: number }
type Write = typeof columns.asText

const FIGURES = ['', 'median', 'CPU of one request', 'stolen']
const RATIOS = ['', 'ratio', 'target', '']

export const asText = (figures: Figure[], targets: Target[]) => both(columns.asText, figures, targets)
export const asMarkdown = (figures: Figure[], targets: Target[]) => both(columns.asMarkdown, figures, targets)

function both (write: Write, figures: Figure[], targets: Target[]) {
  return `${write(FIGURES, figures.map(figureRow))}\n\n${write(RATIOS, targets.flatMap((target) => ratioRow(figures, target)))}`
}

function figureRow ({ row, subject, value, unit, cpuMicros, stolen }: Figure) {
  return [`${row}: ${subject}`, rounded(value) + unit, cpuMicros === undefined ? '' : `${rounded(cpuMicros)} µs`, stolen === undefined ? '' : `${Math.round(stolen * 100)} %`]
}

function ratioRow (figures: Figure[], { what, of, by, least, most }: Target) {
  const valueOf = ([row, subject]: Named) => figures.find((figure) => figure.row === row && figure.subject === subject)?.value
  const [value, base] = [valueOf(of), by ? valueOf(by) : 1]
  if (value === undefined || base === undefined) return []
  const ratio = value / base
  const isMet = ratio >= (least ?? -Infinity) && ratio <= (most ?? Infinity)
  const target = least !== undefined ? `≥ ${least}` : most !== undefined ? `≤ ${most}` : ''
  return [[what, by ? ratio.toFixed(2) : rounded(ratio), target, target && (isMet ? 'met' : 'missed')]]
}

const rounded = (value: number) => value >= 10 ? Math.round(value).toLocaleString('en').replaceAll(',', ' ') : value.toPrecision(2)

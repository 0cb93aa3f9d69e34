import type { Outcome, Row } from './row.ts'

export type Line = Pick<Row, 'fault' | 'promise'> & Outcome
type Cells = [fault: string, promise: string, measured: string, verdict: string]

const HEADER: Cells = ['fault', 'promise', 'measured', '']
const GAP = '  '
const FEWEST_COLUMNS = 100
const SHARES = [0.2, 0.35, 0.45]

const cellsOf = ({ fault, promise, measured, isKept }: Line): Cells => [fault, promise, measured, isKept ? 'kept' : 'BROKEN']

/** For a terminal that is so wide: cells that are longer than their column go on below. */
export function asText (lines: Line[], columns = FEWEST_COLUMNS) {
  const verdictWidth = 'BROKEN'.length
  const rest = Math.max(FEWEST_COLUMNS, columns) - verdictWidth - SHARES.length * GAP.length - 1
  const widths = [...SHARES.map((share) => Math.floor(rest * share)), verdictWidth]
  return [HEADER, ...lines.map(cellsOf)].map((cells) => {
    const wrapped = cells.map((cell, i) => wrap(cell, widths[i]!))
    const height = Math.max(...wrapped.map(({ length }) => length))
    return Array.from({ length: height }, (_, y) => wrapped.map((part, i) => (part[y] ?? '').padEnd(widths[i]!)).join(GAP).trimEnd()).join('\n')
  }).join('\n\n')
}

/** For a README. */
export function asMarkdown (lines: Line[]) {
  const row = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
  return [row(HEADER.map(capital)), '|---|---|---|---|', ...lines.map((line) => row(cellsOf(line)))].join('\n')
}

const capital = (word: string) => word.slice(0, 1).toUpperCase() + word.slice(1)

function wrap (text: string, width: number) {
  const lines = ['']
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1)!
    if (line && line.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = line ? `${line} ${word}` : word
  }
  return lines
}

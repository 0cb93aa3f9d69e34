import type { Test } from 'tap'

/** Tells figures below one another: the first column as text, the others to the right. */
export function table (t: Test, head: string[], rows: (string | number)[][]) {
  const lines = [head, ...rows.map((row) => row.map(String))]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  for (const line of lines) t.comment(line.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join('  '))
}

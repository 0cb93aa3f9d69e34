type Cells = (string | number)[]

const GAP = '  '

/** For a terminal: the first column as text, the others to the right. */
export function asText (head: Cells, rows: Cells[]) {
  const lines = [head, ...rows].map((cells) => cells.map(String))
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  return lines.map((line) => line.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join(GAP).trimEnd()).join('\n')
}

/** For a README. */
export function asMarkdown (head: Cells, rows: Cells[]) {
  const line = (cells: Cells) => `| ${cells.join(' | ')} |`
  return [line(head), `|---|${'--:|'.repeat(head.length - 1)}`, ...rows.map(line)].join('\n')
}

import { asText } from '../bench/columns.ts'
import type { Test } from 'tap'

/** Tells figures below one another: the first column as text, the others to the right. */
export function table (t: Test, head: string[], rows: (string | number)[][]) {
  for (const line of asText(head, rows).split('\n')) t.comment(line)
}

import { randomBytes } from 'node:crypto'

/** What nothing of ours may tell; unlike all else there is. */
export const secret = (name: string) => `canary-${name}-${randomBytes(8).toString('hex')}`

/** The lines that hold what no line may hold; a part of a token is as bad as the whole of it. */
export function found (lines: string[], canaries: string[]) {
  const parts = canaries.flatMap((text) => text.startsWith('ey') ? text.split('.').slice(1) : [text])
  return lines.filter((line) => parts.some((text) => line.includes(text) || line.includes(encodeURIComponent(text))))
}

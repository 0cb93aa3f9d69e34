import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

type Range = { from: number, count: number }

/**
 * A port that no other test of this run draws, not even while its owner does not listen; whether somebody else listens there is not known.
 * Ranges lie below the ports that the kernel hands out.
 */
export function drawPort ({ from, count }: Range): number {
  const port = from + Math.floor(Math.random() * count)
  return claim(port) ? port : drawPort({ from, count })
}

// All tests of a run share its folder, which is removed at its end.
function claim (port: number) {
  try {
    writeFileSync(join(tmpdir(), `port-${port}`), '', { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

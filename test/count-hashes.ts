import { createHook } from 'node:async_hooks'

/** How many argon2 hashes this process starts, verifications included, while `work` runs. */
export async function countHashes (work: () => Promise<unknown>): Promise<number> {
  let count = 0
  const hook = createHook({
    init (_, type) {
      if (type.startsWith('argon2')) count++
    }
  }).enable()
  try {
    await work()
    return count
  } finally {
    hook.disable()
  }
}

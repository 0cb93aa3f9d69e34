import { open, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

export type File = { text: string, changedAt: number, owner?: { mode: number, uid: number, gid: number } }
type Replace = (text: string) => Promise<void>

const TRIES = 20
const PAUSE_MS = 100

/** What is in a file, and since when, in ms; one that is not there is empty. */
export async function look (file: string): Promise<File> {
  try {
    const { ctimeMs, mode, uid, gid } = await stat(file)
    return { text: await readFile(file, 'utf8'), changedAt: ctimeMs, owner: { mode, uid, gid } }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return { text: '', changedAt: Date.now() }
  }
}

/**
 * Lets `work` replace a file, as a whole or not at all. The next version is written beside it; that draft is the lock as well,
 * so that of two who change the file at once the second sees what the first has done.
 */
export async function withLock (path: string, work: (file: File, replace: Replace) => Promise<void>) {
  const file = await realpath(path).catch(() => path)      // a link stays one
  const draft = `${file}.lock`
  const handle = await lock(draft)
  let isReplaced = false
  try {
    const before = await look(file)
    await work(before, async (text) => {
      await handle.writeFile(text)
      if (before.owner) await giveTo(before.owner)
      await handle.sync()
      await rename(draft, file)
      isReplaced = true
    })
  } finally {
    await handle.close()
    if (!isReplaced) await rm(draft)
  }

  // Whoever may read it, the service above all, still may; but nobody outside its group.
  async function giveTo ({ mode, uid, gid }: NonNullable<File['owner']>) {
    await handle.chmod(mode & 0o060 | 0o600)
    await handle.chown(uid, gid).catch((error) => {
      throw new Error(`${file} belongs to somebody else: run this as its owner`, { cause: error })
    })
  }
}

async function lock (draft: string, tries = TRIES) {
  try {
    return await open(draft, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if (tries === 0) throw new Error(`Somebody else is changing the file; if nobody is, remove ${draft}`, { cause: error })
  }
  await delay(PAUSE_MS)
  return lock(draft, tries - 1)
}

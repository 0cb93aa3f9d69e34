import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serverOwner } from '../../../plugins/db/embedded-binaries.ts'
import { startEmbedded } from '../../../plugins/db/embedded.ts'
import { open } from './database.ts'
import type { Test } from 'tap'

/** A PostgreSQL that keeps what it has acknowledged, and can be killed. */
export async function startDurable (t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'stops-'))
  t.teardown(() => rm(folder, { recursive: true, maxRetries: 10 }))
  await chmod(folder, 0o711)
  const { url, stop } = await startEmbedded({ folder, durable: true })
  t.teardown(stop)
  const database = open(url)
  const [binaries = ''] = (await readdir(folder)).filter((name) => name.startsWith('postgresql-'))
  const data = join(folder, 'data')
  const lockFile = join(data, 'postmaster.pid')

  return {
    ...database,

    /** The postmaster and all its children, so that nobody is left to write anything. */
    async kill () {
      const postmaster = parseInt(await readFile(lockFile, 'utf8'))
      const children = await database.sql<{ pid: number }>('select pid from pg_stat_activity where pid <> pg_backend_pid()')
      process.kill(postmaster, 'SIGKILL')
      for (const { pid } of children) endNow(pid)
      await rm(lockFile)      // pg_ctl would take a zombie for a server that does not stop
    },

    /** Again, on its port. */
    async restart () {
      const starting = spawn(join(folder, binaries, 'bin', 'pg_ctl'), ['restart', '-s', '-w', '-D', data], {
        ...await serverOwner(), cwd: folder, env: { LC_ALL: 'C', TZ: 'UTC' }, stdio: 'ignore'
      })
      const [code] = await once(starting, 'exit')
      if (code !== 0) throw new Error(`pg_ctl ended with ${code}`)
    }
  }
}

function endNow (pid: number) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended with the postmaster
  }
}

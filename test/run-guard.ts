import { globSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'

const PAUSE_MS = 50
const TRIES = 200

// Outlives the runner, however that ends: once the pipe from it is closed, the process groups that it has named,
// every PostgreSQL in its folder, and the folder go.
const folder = process.argv[2]!
const groups: number[] = []
for await (const line of createInterface({ input: process.stdin })) groups.push(Number(line))
for (const group of groups) isAlive(-group, 'SIGKILL')
for (let tries = 0; tries < TRIES && !isClean(); tries++) await delay(PAUSE_MS)

function isClean () {
  try {
    const locks = globSync('*/data/postmaster.pid', { cwd: folder })
    const servers = locks.map((lock) => parseInt(readFileSync(join(folder, lock), 'utf8')))
    if (servers.filter((pid) => isAlive(pid, 'SIGQUIT')).length > 0) return false
    rmSync(folder, { recursive: true, force: true })
    return true
  } catch {
    return false      // a server that ends removes its files too
  }
}

function isAlive (pid: number, signal: NodeJS.Signals) {
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}

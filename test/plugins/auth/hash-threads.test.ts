import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { letLoopGoFirst } from '../../../plugins/auth/hash-threads.ts'

const TASKS = '/proc/self/task'

/** The names of this process's threads, with how nice each is (proc(5)). */
const niceness = () => readdirSync(TASKS).map((id) => {
  const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`${TASKS}/${id}/stat`, 'utf8'))!
  return { name: name!, nice: Number(rest!.split(' ')[16]) }
})

const hashing = () => niceness().filter(({ name }) => name === 'libuv-worker')

test('on one core, or where there are no such threads, all stays as it is', async (t) => {
  await readFile(import.meta.filename)      // by one of them
  letLoopGoFirst(1)
  letLoopGoFirst(2, '/nowhere')
  if (existsSync(TASKS)) t.ok(hashing().every(({ nice }) => nice < 10))
})

test('the threads that hash give way to the event loop, where threads have a priority', { skip: !existsSync(TASKS) && 'the system knows no priority of threads' }, async (t) => {
  letLoopGoFirst(2)
  t.ok(hashing().length > 1)
  t.ok(hashing().every(({ nice }) => nice === 10))
  t.ok(niceness().filter(({ name }) => name !== 'libuv-worker').every(({ nice }) => nice < 10))
})

import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const HELP = `Usage: npm run build:argon2 [-- LEVEL]

Builds argon2 from source for this CPU (LEVEL: native) or for a level such as x86-64-v3, which hashes half again as fast as
the binary that npm brings, or faster. What is built for this CPU may end without a word on an older one.
Needs python3, make and a C++ compiler. Undo it with: npm ci
`
const [level = 'native', ...others] = process.argv.slice(2)

if (level === 'help' || level === '--help') {
  process.stdout.write(HELP)
} else if (others.length > 0 || !/^\w[\w.-]*$/.test(level)) {
  process.stderr.write(HELP)
  process.exitCode = 2
} else {
  process.exitCode = compile(`-O3 -march=${level}`)
}

function compile (flags: string) {
  const { resolve } = createRequire(import.meta.url)
  const folder = dirname(resolve('argon2/package.json'))
  const { status, error } = spawnSync(process.execPath, [resolve('node-gyp/bin/node-gyp.js'), 'rebuild', '--directory', folder], {
    stdio: 'inherit',
    env: { ...process.env, CFLAGS: flags, CXXFLAGS: flags, ...headers() }
  })
  if (error) process.stderr.write(`${error.message}\n`)
  if (status === 0) succeed(folder, flags)
  return status ?? 1
}

function succeed (folder: string, flags: string) {
  // The start asks whether the CPU has it.
  writeFileSync(join(folder, 'build', 'Release', 'argon2.level'), level)
  process.stdout.write(`argon2 is now built with ${flags}\n`)
}

/** Node's headers lie beside it, or node-gyp downloads them. */
function headers (): NodeJS.ProcessEnv {
  const folder = join(dirname(process.execPath), '..')
  return existsSync(join(folder, 'include', 'node', 'node.h')) ? { npm_config_nodedir: folder } : {}
}

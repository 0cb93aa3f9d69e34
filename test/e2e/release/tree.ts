import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'

export const ROOT = join(import.meta.dirname, '../../..')
const PARTS = ['plugins', 'routes', 'schemas', 'migrations', 'deploy', 'test', 'app.ts', 'server.ts', 'tracing.ts', 'tsconfig.json', '.env.example', 'package.json']

/** What the next release does to the schema: a column that may be null, and an index on it, while everybody works on. */
const MIGRATIONS = {
  '900_next-column.sql': `-- Up Migration
set local lock_timeout = '2s';
alter table users add column next_release text;

-- Down Migration
set local lock_timeout = '2s';
alter table users drop column next_release;
`,
  '901_next-index.ts': `import type { MigrationBuilder } from 'node-pg-migrate'

export async function up (pgm: MigrationBuilder) {
  pgm.noTransaction()
  pgm.sql("set lock_timeout = '60s'")
  pgm.sql('create index concurrently if not exists users_next_release_idx on users (next_release)')
}

export async function down (pgm: MigrationBuilder) {
  pgm.noTransaction()
  pgm.sql('drop index concurrently if exists users_next_release_idx')
}
`
}

export const versionOf = async (tree: string): Promise<string> => JSON.parse(await readFile(join(tree, 'package.json'), 'utf8')).version

/** The next release: a copy of this tree with another version and one expansion of the schema more. */
export async function nextRelease (t: Test) {
  const tree = await mkdtemp(join(tmpdir(), 'next-'))
  t.teardown(() => rm(tree, { recursive: true }))
  const here = new Set(await readdir(ROOT))
  for (const part of PARTS.filter((part) => here.has(part))) await cp(join(ROOT, part), join(tree, part), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(tree, 'node_modules'))
  const manifest = JSON.parse(await readFile(join(tree, 'package.json'), 'utf8'))
  await writeFile(join(tree, 'package.json'), JSON.stringify({ ...manifest, version: `${manifest.version}-next` }))
  for (const [name, text] of Object.entries(MIGRATIONS)) await writeFile(join(tree, 'migrations', name), text)
  return tree
}

/** Tests of a tree, each in a database of its own with the migrations of that tree: says how many passed. */
export async function runTests (tree: string, files: string[]) {
  const program = fileURLToPath(new URL('run.mjs', import.meta.resolve('tap')))
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TAP') && name !== 'TEST_DATABASE_TEMPLATE'))
  const { stdout } = await promisify(execFile)(process.execPath, [program, '--disable-coverage', '--reporter=tap', '--jobs=1', ...files], { cwd: tree, env, maxBuffer: 2 ** 24 })
  const [, pass] = /^# \{ total: \d+, pass: (\d+) \}$/m.exec(stdout) ?? []
  if (!pass) throw new Error(`not all of them pass: ${stdout.slice(-2000)}`)
  return `${pass} checks passed`
}

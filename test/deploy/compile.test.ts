import { readdir, readFile } from 'node:fs/promises'
import { test } from 'tap'
import { run } from '../processes.ts'

const MODULES = 500
// Whoever measures coverage forbids it.
const compiling = { NODE_DISABLE_COMPILE_CACHE: undefined, NODE_V8_COVERAGE: undefined }

test('what a start loads is compiled into the folder that it is told', async (t) => {
  const folder = t.testdir({})
  t.match(await run(t, 'deploy/compile.ts', [], { ...compiling, NODE_COMPILE_CACHE: folder }), { code: 0, stdout: '', stderr: '' })
  t.ok((await readdir(folder, { recursive: true })).length > MODULES)
})

test('what is loaded with Redis, or for the first new password, is among it', async (t) => {
  const { stderr } = await run(t, 'deploy/compile.ts', [], { ...compiling, NODE_COMPILE_CACHE: t.testdir({}), NODE_DEBUG_NATIVE: 'COMPILE_CACHE' })
  for (const name of ['ioredis', '@zxcvbn-ts/language-common']) t.match(stderr, `node_modules/${name}/`)
})

test('the image compiles it as the user that reads it, whose number is in the name of the folder', async (t) => {
  const stages = (await readFile('deploy/Dockerfile', 'utf8')).split(/^FROM /m)
  const compiling = stages.find((stage) => /^RUN .*node deploy\/compile\.ts/m.test(stage))!
  const userBefore = (text: string) => /^USER (\S+)$/m.exec(text)?.[1]
  t.equal(userBefore(compiling.split('node deploy/compile.ts')[0]!), userBefore(stages.at(-1)!))
})

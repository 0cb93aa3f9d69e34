import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { test } from 'tap'
import { preload, run } from '../processes.ts'

const BUILD = 'deploy/build-argon2.ts'
const { resolve } = createRequire(import.meta.url)
const NODE_GYP = resolve('node-gyp/bin/node-gyp.js')
const ARGON2 = dirname(resolve('argon2/package.json'))

test('help is an answer, a wrong usage is an error', async (t) => {
  for (const args of [['help'], ['--help']]) {
    t.match(await run(t, BUILD, args), { code: 0, stdout: /^Usage: npm run build:argon2/, stderr: '' })
  }
  for (const args of [['-march=native'], ['x86-64-v3; rm'], ['native', 'v3'], ['']]) {
    t.match(await run(t, BUILD, args), { code: 2, stdout: '', stderr: /^Usage: npm run build:argon2/ }, args.join(' '))
  }
})

test('it has node-gyp build the package for the level', async (t) => {
  const { code, stdout, stderr } = await run(t, BUILD, ['x86-64-v4'], {}, withCompiler({ status: 0 }))
  const [command, level, last] = stdout.split('\n')

  t.same(JSON.parse(command!), { args: [NODE_GYP, 'rebuild', '--directory', ARGON2], flags: ['-O3 -march=x86-64-v4', '-O3 -march=x86-64-v4'], nodedir: dirname(dirname(process.execPath)) })
  t.same(JSON.parse(level!), [join(ARGON2, 'build/Release/argon2.level'), 'x86-64-v4'], 'for the start to compare with the CPU')
  t.equal(last, 'argon2 is now built with -O3 -march=x86-64-v4')
  t.same([code, stderr], [0, ''])
})

test('without a level it builds for this CPU', async (t) => {
  t.match(await run(t, BUILD, [], {}, withCompiler({ status: 0 })), { code: 0, stdout: /^argon2 is now built with -O3 -march=native$/m })
})

test('where Node has no headers beside it node-gyp looks for them', async (t) => {
  const { stdout } = await run(t, BUILD, [], { npm_config_nodedir: undefined }, withCompiler({ status: 0 }, '/nowhere/bin/node'))
  t.notOk('nodedir' in JSON.parse(stdout.split('\n', 1).join()))
})

test('a build that fails is told of', async (t) => {
  t.match(await run(t, BUILD, [], {}, withCompiler({ status: 3 })), { code: 3, stdout: /^\{.*\}\n$/, stderr: '' })
  t.match(await run(t, BUILD, [], {}, withCompiler({ status: null, error: { message: 'spawn ENOENT' } })), { code: 1, stderr: 'spawn ENOENT\n' })
})

/** Node with a compiler that says what it was told to do, and then answers this. */
function withCompiler (answer: object, execPath = process.execPath) {
  return preload(`
    import childProcess from 'node:child_process';
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    process.execPath = '${execPath}';
    childProcess.spawnSync = (command, args, { env }) => {
      console.log(JSON.stringify({ args, flags: [env.CFLAGS, env.CXXFLAGS], nodedir: env.npm_config_nodedir }));
      return ${JSON.stringify(answer)};
    };
    const { writeFileSync } = fs;
    fs.writeFileSync = (...what) => what[0].endsWith('argon2.level') ? console.log(JSON.stringify(what)) : writeFileSync(...what);
    syncBuiltinESMExports();`)
}

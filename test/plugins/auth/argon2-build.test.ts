import { test } from 'tap'
import { buildOf, lackingOf, refuseOtherCpu } from '../../../plugins/auth/argon2-build.ts'
import { createPasswords } from '../../../plugins/auth/passwords.ts'
import { createSlots } from '../../../plugins/slots.ts'
import { settings } from '../../helper.ts'
import { preload, run } from '../../processes.ts'

const COSTS = { PASSWORD_MIN_LENGTH: 8, ARGON2_MEMORY: 64, ARGON2_TIME: 1, ARGON2_PARALLELISM: 1, HASH_CONCURRENCY: 2, HASH_QUEUE_TIMEOUT: 60_000 }
const V1 = 'fpu cx8 cmov mmx fxsr sse sse2 syscall'
const V2 = `${V1} pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm`
const V3 = `${V2} fma movbe xsave avx f16c abm bmi1 avx2 bmi2`
const V4 = `${V3} avx512f avx512dq avx512cd avx512bw avx512vl`
const cpuinfo = (flags: string) => `processor\t: 0\nflags\t\t: ${flags}\nvmx flags\t: ept vpid\n\nprocessor\t: 1\n`

test('it is known whether argon2 was built for this CPU', async (t) => {
  const folder = t.testdir({ plain: {}, built: { build: { Release: { 'argon2.node': '' } } } })
  t.same(['plain', 'built'].map((name) => buildOf(`${folder}/${name}`)), ['generic', 'native'])
  t.equal((await createPasswords(COSTS, (count) => createSlots(count, () => undefined))).build, buildOf())
})

test('a CPU lacks of a level what it lacks of those below too', async (t) => {
  for (const [level, flags] of [['x86-64', V1], ['x86-64-v2', V2], ['x86-64-v3', V3], ['x86-64-v4', V4]] as const) {
    t.same(lackingOf(level, cpuinfo(flags)), [], level)
  }
  t.same(lackingOf('x86-64-v2', cpuinfo(V1)).length, 7)
  t.same(lackingOf('x86-64-v3', cpuinfo(V1)).length, 16)
  t.same(lackingOf('x86-64-v4', cpuinfo(V2)).length, 14)
  t.same(lackingOf('x86-64-v3', cpuinfo(V4.replace(' avx2', ''))), ['avx2'])
  t.same(lackingOf('x86-64-v4', cpuinfo(V3)), ['avx512bw', 'avx512cd', 'avx512dq', 'avx512f', 'avx512vl'])
})

test('levels and systems that cannot be judged are let through', async (t) => {
  t.same(lackingOf('native', cpuinfo(V1)), [])
  t.same(lackingOf('armv8.2-a', 'processor\t: 0\nFeatures\t: fp asimd\n'), [])
  t.same(lackingOf('x86-64-v3', ''), [], 'no Linux')
  t.doesNotThrow(() => refuseOtherCpu('/nowhere', '/nowhere'))
})

test('the start is refused by a sentence where the CPU lacks what argon2 was built for', async (t) => {
  const cpu = preload(`
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { readFileSync } = fs;
    fs.readFileSync = (file, ...options) => {
      if (file === '/proc/cpuinfo') return ${JSON.stringify(cpuinfo(V2))};
      return String(file).endsWith('argon2.level') ? 'x86-64-v3' : readFileSync(file, ...options);
    };
    syncBuiltinESMExports();`)
  const { code, signal, stderr } = await run(t, 'server.ts', [], settings, cpu)
  t.same([code, signal], [1, null])
  t.match(stderr, /^argon2 is built for x86-64-v3, and this CPU lacks abm, avx, avx2, bmi1, bmi2, f16c, fma, movbe, xsave: build .+\n$/)
})

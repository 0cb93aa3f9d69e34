import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const FOLDER = dirname(createRequire(import.meta.url).resolve('argon2/package.json'))

// What each level adds to the one before it (https://gitlab.com/x86-psABIs/x86-64-ABI), in the words of /proc/cpuinfo.
const LEVELS = [
  ['x86-64-v2', ['cx16', 'lahf_lm', 'popcnt', 'pni', 'sse4_1', 'sse4_2', 'ssse3']],
  ['x86-64-v3', ['abm', 'avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'movbe', 'xsave']],
  ['x86-64-v4', ['avx512bw', 'avx512cd', 'avx512dq', 'avx512f', 'avx512vl']]
] as const

/** The npm binary is made for the oldest CPUs; `npm run build:argon2` and the image make one for newer ones, which takes precedence. */
export function buildOf (folder = FOLDER): 'generic' | 'native' {
  return existsSync(join(folder, 'build', 'Release', 'argon2.node')) ? 'native' : 'generic'
}

/** To be asked before argon2 is loaded: an instruction that the CPU does not know would end the process without a word. */
export function refuseOtherCpu (folder = FOLDER, cpuinfo = '/proc/cpuinfo') {
  const level = read(join(folder, 'build', 'Release', 'argon2.level'))
  const lacking = lackingOf(level, read(cpuinfo))
  if (lacking.length === 0) return
  throw new Error(`argon2 is built for ${level}, and this CPU lacks ${lacking.join(', ')}: build the image with --build-arg ARGON2_LEVEL=x86-64-v2, or in a checkout: npm ci`, { cause: level })
}

/** What a CPU lacks of a level; nothing where that cannot be told, as of other levels and other systems than Linux. */
export function lackingOf (level: string, cpuinfo: string) {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.split(' ')
  const needed = LEVELS.slice(0, 1 + LEVELS.findIndex(([name]) => name === level)).flatMap(([, names]) => names)
  return flags ? needed.filter((name) => !flags.includes(name)) : []
}

function read (file: string) {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EnvSchema, loadConfig, SECRETS } from '../../plugins/config/index.ts'
import type { Test } from 'tap'

type Env = Record<string, string>

export const random = () => randomBytes(48).toString('base64url')
export const newKeys = () => JSON.stringify({ keys: [generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })] })

/** What the service makes of the environment of a container; `mounted` has the files that are mounted there, by their paths. */
export function loadGiven (t: Test, environment: Env, mounted: Env) {
  const folder = t.testdir()
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, name.endsWith('_FILE') ? onDisk(value) : value]))
  return loadConfig(env, join(folder, 'state'))

  function onDisk (path: string) {
    const text = mounted[path]
    if (text === undefined) return path
    const file = join(folder, path.replaceAll('/', '-'))
    writeFileSync(file, text)
    return file
  }
}

/** Names that the service would ignore, and secrets that are given in the open. */
export function wronglyGiven (environment: Env) {
  const secrets: readonly string[] = [...SECRETS, 'JWT_KEYS']
  const known = [...Object.keys(EnvSchema.properties).filter((name) => !secrets.includes(name)), ...SECRETS.map((name) => `${name}_FILE`)]
  return Object.keys(environment).filter((name) => !known.includes(name))
}

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

type Env = Record<string, string | undefined>

export const keysFileIn = (stateFolder: string) => join(stateFolder, 'secrets', 'jwt-keys.json')

/** Secrets for development: made once, kept, and never used in production. */
export function developmentSecrets (env: Env, stateFolder: string): Env {
  const secrets: Env = {}
  if (!env.JWT_KEYS && !env.JWT_KEYS_FILE) {
    secrets.JWT_KEYS_FILE = keepOnce(keysFileIn(stateFolder), () => {
      const { privateKey } = generateKeyPairSync('ed25519')
      return JSON.stringify({ keys: [privateKey.export({ format: 'jwk' })] })
    })
  }
  if (!env.REFRESH_TOKEN_SECRET) {
    const file = keepOnce(join(stateFolder, 'secrets', 'refresh-token-secret'), () => randomBytes(48).toString('base64url'))
    secrets.REFRESH_TOKEN_SECRET = readFileSync(file, 'utf8')
  }
  return secrets
}

/** Two processes that start together end up with the same file: a link fails where one exists. */
function keepOnce (file: string, make: () => string) {
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  try {
    writeFileSync(draft, make(), { mode: 0o600 })
    linkSync(draft, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(draft, { force: true })
  }
  return file
}

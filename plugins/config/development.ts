import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

type Env = Record<string, string | undefined>

/** Secrets for development: made once, kept, and never used in production. */
export function developmentSecrets (env: Env, stateFolder: string): Env {
  const folder = join(stateFolder, 'secrets')
  const secrets: Env = {}
  if (!env.JWT_KEYS && !env.JWT_KEYS_FILE) {
    secrets.JWT_KEYS_FILE = keepOnce(folder, 'jwt-keys.json', () => {
      const { privateKey } = generateKeyPairSync('ed25519')
      return JSON.stringify({ keys: [privateKey.export({ format: 'jwk' })] })
    })
  }
  if (!env.REFRESH_TOKEN_SECRET) {
    const file = keepOnce(folder, 'refresh-token-secret', () => randomBytes(48).toString('base64url'))
    secrets.REFRESH_TOKEN_SECRET = readFileSync(file, 'utf8')
  }
  return secrets
}

/** Two processes that start together end up with the same file: a link fails where one exists. */
function keepOnce (folder: string, name: string, make: () => string) {
  const file = join(folder, name)
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  mkdirSync(folder, { recursive: true, mode: 0o700 })
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

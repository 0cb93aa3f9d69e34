import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { lintSource } from '@secretlint/core'
import { creator as recommended } from '@secretlint/secretlint-rule-preset-recommend'
import ignore from 'ignore'
import { test } from 'tap'

type Rule = typeof recommended.rules[number]

const root = join(import.meta.dirname, '..')
const ignored = ignore.default().add(readFileSync(join(root, '.gitignore'), 'utf8')).add('.git')

/** What only looks like a secret, to the letter. */
const ALLOWED = [
  'postgres://app:canary@127.0.0.1:9/x',
  'postgres://app:changeme@db/app',
  'postgres://app:Replace-Me@db/app'
]

/** Ed25519 keys, which sign access tokens and which the preset does not know: as JSON Web Keys (RFC 8037), and as PKCS #8 (RFC 8410). */
const SIGNING_KEY = /"d"\s*:\s*"[\w-]{43}"|MC4CAQAwBQYDK2VwBCIEI[\w+/]{43}/g
const signingKey: Rule = {
  messages: { SigningKey: { en: () => 'found a signing key' } },
  meta: { id: 'signing-key', type: 'scanner', recommended: true, supportedContentTypes: ['text'] },
  create (context) {
    const translate = context.createTranslator(this.messages)
    return {
      file ({ content }) {
        for (const { index, 0: { length } } of content.matchAll(SIGNING_KEY)) context.report({ message: translate('SigningKey'), range: [index, index + length] })
      }
    }
  }
}

const config = {
  rules: [
    { id: 'recommended', rule: recommended, rules: [{ id: '@secretlint/secretlint-rule-database-connection-string', options: { allows: ALLOWED } }] },
    { id: 'signing-key', rule: signingKey }
  ]
}

/** Says where the secrets are, and what they are, but not what they say. */
async function secretsIn (folder: string) {
  const found = await Promise.all([...filesOf(folder)].map(async (file) => {
    const source = { filePath: file, content: readFileSync(join(folder, file), 'utf8'), contentType: 'text' as const }
    const { messages } = await lintSource({ source, options: { config, maskSecrets: true, noPhysicFilePath: true } })
    return messages.map(({ messageId, loc }) => `${file}:${loc.start.line} ${messageId}`)
  }))
  return found.flat()
}

/** What git has, or would take. */
function * filesOf (folder: string, path = ''): Generator<string> {
  for (const entry of readdirSync(join(folder, path), { withFileTypes: true })) {
    const file = posix.join(path, entry.name)
    if (ignored.ignores(file)) continue
    if (entry.isDirectory()) yield * filesOf(folder, file)
    else if (entry.isFile()) yield file
  }
}

test('the tree holds no secret', async (t) => {
  const files = [...filesOf(root)]
  for (const file of ['.env.example', '.github/workflows/ci.yml', 'deploy/compose/prod.yaml', 'test/secrets.test.ts']) t.ok(files.includes(file), `${file} is looked at`)
  t.same(await secretsIn(root), [])
})

test('a secret that gets into a tree is found, wherever it lies', async (t) => {
  const signing = generateKeyPairSync('ed25519').privateKey
  const ofCertificate = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const random = (bytes: number) => randomBytes(bytes).toString('hex')
  const folder = t.testdir({
    '.env.example': `HOST=127.0.0.1\nDATABASE_URL=postgres://microts:${random(24)}@db.internal/microts\n`,
    '.env': `DATABASE_URL=postgres://microts:${random(24)}@db.internal/microts\n`,
    '.github': { workflows: { 'ci.yml': `env:\n  AWS_SECRET_ACCESS_KEY: ${random(20)}\n` } },
    deploy: {
      'jwt-keys.json': JSON.stringify({ keys: [signing.export({ format: 'jwk' })] }),
      'jwt.pem': signing.export({ format: 'pem', type: 'pkcs8' }),
      tls: { 'tls.key': ofCertificate.export({ format: 'pem', type: 'pkcs8' }) }
    },
    'README.md': 'postgres://127.0.0.1/microts'
  })
  t.same((await secretsIn(folder)).sort(), [
    '.env.example:2 PostgreSQLConnection',
    '.github/workflows/ci.yml:2 AWSSecretAccessKey',
    'deploy/jwt-keys.json:1 SigningKey',
    'deploy/jwt.pem:2 SigningKey',
    'deploy/tls/tls.key:1 PrivateKey'
  ], '.env is none of the tree')
})

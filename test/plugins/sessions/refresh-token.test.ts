import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'tap'
import { createRefreshTokens } from '../../../plugins/sessions/refresh-token.ts'

const claim = { sessionId: '01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', generation: 7, nonce: randomBytes(16) }
const [old, current] = ['o'.repeat(32), 'n'.repeat(32)]

test('what was signed is read again', async (t) => {
  const tokens = createRefreshTokens([current])
  t.same(tokens.verify(tokens.sign(claim)), claim)
  t.match(tokens.sign(claim), /^rt1\.[\w-]{91}$/)
})

test('all secrets verify and the first one signs', async (t) => {
  const signedByOld = createRefreshTokens([old]).sign(claim)

  t.same(createRefreshTokens([current, old]).verify(signedByOld), claim)
  t.same(createRefreshTokens([old, current]).sign(claim), signedByOld)
  t.equal(createRefreshTokens([current]).verify(signedByOld), undefined)
})

test('nothing but the exact token is taken', async (t) => {
  const tokens = createRefreshTokens([current])
  const token = tokens.sign(claim)
  const body = token.slice(4)
  const bytes = Buffer.from(body, 'base64url')
  const flipped = (i: number) => {
    const copy = Buffer.from(bytes)
    copy.writeUInt8(copy.readUInt8(i) ^ 1, i)
    return `rt1.${copy.toString('base64url')}`
  }
  const unprefixedMac = createHmac('sha256', current).update(bytes.subarray(0, 36)).digest()
  const refused = [
    '', 'rt1.', body, `rt2.${body}`, `${token}=`, `${token}A`, token.slice(0, -1), ` ${token}`, `${token}\n`, token.toUpperCase(),
    // The last character carries two spare bits, which a lenient decoder would ignore.
    token.slice(0, -1) + nextInAlphabet(token.at(-1) ?? ''),
    `rt1.${Buffer.concat([bytes.subarray(0, 36), unprefixedMac]).toString('base64url')}`,
    ...Array.from({ length: bytes.length }, (_, i) => flipped(i))
  ]
  for (const candidate of refused) t.equal(tokens.verify(candidate), undefined, JSON.stringify(candidate))
})

function nextInAlphabet (character: string) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return alphabet[alphabet.indexOf(character) + 1]
}

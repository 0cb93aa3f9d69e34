import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { canonicalEmail, localPartOf } from '../../../plugins/users/email.ts'
import { build, PASSWORD, post } from '../../helper.ts'

const canonicalOrRefused = (email: string) => {
  try {
    return canonicalEmail(email)
  } catch (error) {
    return (error as { code: string }).code === 'VALIDATION_ERROR' ? undefined : error
  }
}

// Of three, since a slow one may be a busy machine.
async function fastestOf3 (work: () => Promise<unknown>) {
  const times = []
  for (let i = 0; i < 3; i++) {
    const startedAt = performance.now()
    await work()
    times.push(performance.now() - startedAt)
  }
  return Math.min(...times)
}

const long = (length: number) => 'a'.repeat(length)
const labels = (length: number) => 'a.'.repeat(length / 2 - 1) + 'com'.slice(0, 2 + length % 2)

const ACCEPTED: [email: string, canonical: string][] = [
  ['ada@example.com', 'ada@example.com'],
  ['  ada@example.com\t\n', 'ada@example.com'],
  ['\u00a0\u3000ada@example.com\ufeff', 'ada@example.com'],
  ['Ada.LOVELACE@Example.COM', 'ada.lovelace@example.com'],
  ['ada+tag@example.com', 'ada+tag@example.com'],
  ["o'hara!#$%&*-/=?^_`{|}~@example.com", "o'hara!#$%&*-/=?^_`{|}~@example.com"],
  ['\uff41\uff44\uff41\uff20\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\uff0e\uff43\uff4f\uff4d', 'ada@example.com'],
  ['\u212aelvin@example.com', 'kelvin@example.com'],
  ['\u212aelvin@\u212aelvin.com', 'kelvin@kelvin.com'],
  ['\u0131vy@example.com', '\u0131vy@example.com'],
  ['ivy@\u0131vy.com', 'ivy@xn--vy-gpa.com'],
  ['\ufb01n@example.com', 'fin@example.com'],
  ['cafe\u0301@example.com', 'caf\u00e9@example.com'],
  ['CAF\u00c9@example.com', 'caf\u00e9@example.com'],
  ['\u039d\u03af\u03ba\u03bf\u03a3.\u03a3\u0391\u03a3@example.com', '\u03bd\u03af\u03ba\u03bf\u03c3.\u03c3\u03b1\u03c3@example.com'],
  ['\u03b1\u03c2@example.com', '\u03b1\u03c3@example.com'],
  ['ada@m\u00fcnchen.de', 'ada@xn--mnchen-3ya.de'],
  ['ada@M\u00dcNCHEN.DE', 'ada@xn--mnchen-3ya.de'],
  ['ada@mu\u0308nchen.de', 'ada@xn--mnchen-3ya.de'],
  ['ada@XN--MNCHEN-3YA.de', 'ada@xn--mnchen-3ya.de'],
  ['ada@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444', 'ada@xn--e1afmkfd.xn--p1ai'],
  ['ada@\u03b2\u03cc\u03bb\u03bf\u03c2.com', 'ada@xn--nxasmm1c.com'],
  ['ada@\u03b2\u03cc\u03bb\u03bf\u03c3.com', 'ada@xn--nxasmq6b.com'],
  ['ada@\u0392\u038c\u039b\u039f\u03a3.COM', 'ada@xn--nxasmq6b.com'],
  ['ada@example\u3002com', 'ada@example.com'],
  ['ada@exa\u00admple.com', 'ada@example.com'],
  ['a@b.co', 'a@b.co'],
  ['ada@a-b.c-d.example', 'ada@a-b.c-d.example'],
  [`${long(64)}@example.com`, `${long(64)}@example.com`],
  [`ada@${long(63)}.com`, `ada@${long(63)}.com`],
  [`a@${labels(252)}`, `a@${labels(252)}`]
]

const REFUSED: [why: string, email: string][] = [
  ['nothing', ''], ['no @', 'example.com'], ['no local part', '@example.com'], ['no domain', 'ada@'], ['two of them', 'a@b@example.com'], ['two of them after NFKC', 'a\uff20b@example.com'],
  ['quoted', '"ada"@example.com'], ['quoted @', '"a@b"@example.com'], ['a comment', 'ada(work)@example.com'], ['a display name', 'Ada <ada@example.com>'], ['a list', 'ada@example.com,eve@example.com'],
  ['a space', 'a da@example.com'], ['a space from NFKC', 'a\u00a8da@example.com'], ['a space in the domain', 'ada@exa mple.com'],
  ['CR and LF', 'ada@example.com\r\nBcc: eve@example.com'], ['LF in the local part', 'a\nda@example.com'], ['LF in the domain', 'ada@exam\nple.com'], ['a tab', 'a\tda@example.com'],
  ['NUL', 'a\u0000da@example.com'], ['a control character', 'a\u0007da@example.com'], ['a C1 control', 'a\u0085da@example.com'], ['DEL', 'a\u007fda@example.com'], ['a line separator', 'a\u2028da@example.com'],
  ['a leading dot', '.ada@example.com'], ['a trailing dot in the local part', 'ada.@example.com'], ['two dots', 'a..da@example.com'], ['two dots from one', 'a\u2025da@example.com'],
  ['a zero-width space', 'a\u200bda@example.com'], ['a variation selector', 'ada\ufe0f@example.com'], ['a grapheme joiner', 'a\u034fda@example.com'], ['a Hangul filler', 'ada\u3164@example.com'], ['a change of direction', 'a\u202eda@example.com'], ['a soft hyphen', 'a\u00adda@example.com'],
  ['a backslash', 'a\\da@example.com'], ['a bracket', 'a[da@example.com'], ['a colon', 'mailto:ada@example.com'], ['a semicolon', 'ada;@example.com'],
  ['an IPv4 literal', 'ada@[192.0.2.1]'], ['an IPv6 literal', 'ada@[IPv6:2001:db8::1]'], ['an IPv4 address', 'ada@192.0.2.1'], ['hexadecimal', 'ada@0x7f.1'], ['a number', 'ada@2130706433'],
  ['no dot in the domain', 'ada@localhost'], ['a trailing dot', 'ada@example.com.'], ['a leading dot in the domain', 'ada@.example.com'], ['an empty label', 'ada@example..com'],
  ['an underscore', 'ada@exa_mple.com'], ['a hyphen first', 'ada@-example.com'], ['a hyphen last', 'ada@example-.com'], ['a hyphen first in the last label', 'ada@example.-com'], ['digits as the last label', 'ada@example.123'],
  ['percent encoding in the host', 'ada@ex%61mple.com'], ['an encoded dot', 'ada@example%2ecom'], ['an encoded NUL', 'ada@example.com%00.org'], ['a slash', 'ada@example.com/x'], ['two slashes', 'ada@//example.com'],
  ['a port', 'ada@example.com:25'], ['a user in the host', 'ada@eve:x@example.com'], ['a query', 'ada@example.com?x'], ['a fragment', 'ada@example.com#x'], ['a backslash in the host', 'ada@example.com\\x'],
  ['a slash after NFKC', 'ada@example.com\uff0fx'], ['a percent sign after NFKC', 'ada@ex\uff0561mple.com'], ['a fraction after NFKC', 'ada@\u2100.com'], ['punycode that is none', 'ada@xn--\u00fc.com'], ['punycode that decodes to nothing', 'ada@xn--.com'],
  ['65 bytes before the @', `${long(65)}@example.com`], ['33 characters of 66 bytes', `${'\u00e9'.repeat(33)}@example.com`], ['64 characters in a label', `ada@${long(64)}.com`],
  ['255 in all', `a@${labels(253)}`], ['254 characters of 255 bytes', `\u00e9@${labels(252)}`], ['254 that NFKC makes more', `\ufb01@${labels(252)}`]
]

test('an address has one canonical spelling', async (t) => {
  for (const [email, canonical] of ACCEPTED) {
    t.equal(canonicalOrRefused(email), canonical, encodeURI(email))
    t.equal(canonicalOrRefused(canonical), canonical, 'which is its own')
  }
})

test('what is no address of ours is refused as a validation error', async (t) => {
  for (const [why, email] of REFUSED) t.equal(canonicalOrRefused(email), undefined, why)
  t.throws(() => canonicalEmail('x'), { statusCode: 400, code: 'VALIDATION_ERROR', message: /schema/ })
})

test('a canonical spelling is its own, whatever character is in it', async (t) => {
  const odd: string[] = []
  let accepted = 0
  for (let point = 0; point <= 0x1ffff; point++) {
    const canonical = canonicalOrRefused(`a${String.fromCodePoint(point)}b@example.com`)
    if (canonical !== undefined) accepted++
    if (canonical !== undefined && (typeof canonical !== 'string' || canonicalOrRefused(canonical) !== canonical)) odd.push(point.toString(16))
  }
  t.same(odd, [])
  t.ok(accepted > 50_000)
})

test('10 kB of the worst take no longer than 50 ms', async (t) => {
  const size = 10_000
  const worst = [long(size), `${long(size)}@example.com`, `ada@${long(size)}.com`, 'a.'.repeat(size / 2), `${'a.'.repeat(size / 2)}@example.com`, `ada@${'a.'.repeat(size / 2)}`, `ada@${'a-'.repeat(size / 2)}!`,
    '@'.repeat(size), ' '.repeat(size), `${' '.repeat(size)}a`, `ada@${'\u00fc'.repeat(size)}.de`, `ada@${'xn--'.repeat(size / 4)}.com`, '\ufdfa'.repeat(size), 'e\u0301'.repeat(size / 2), `a${'\u0301'.repeat(size)}@example.com`]
  for (const email of worst) {
    t.equal(canonicalOrRefused(email), undefined)
    t.ok(await fastestOf3(async () => canonicalOrRefused(email)) < 50, encodeURI(email.slice(0, 12)))
  }
})

test('the local part ends at the last @', async (t) => {
  t.same(['ada@example.com', 'a.b@c.de'].map(localPartOf), ['ada', 'a.b'])
})

test('over HTTP what is no address is a 400 at registration and login, and names the field, not the value', async (t) => {
  const app = await build(t)
  const large: typeof REFUSED = [['letters', long(9000)], ['spaces', `${' '.repeat(9000)}a`], ['labels', `ada@${'a.'.repeat(4500)}`], ['many @', '@'.repeat(9000)]]
  for (const [why, email] of large) t.ok(await fastestOf3(() => post(app, '/auth/login', { email, password: PASSWORD })) < 50, why)

  for (const [why, email] of [...REFUSED, ...large]) {
    for (const url of ['/auth/register', '/auth/login']) {
      const response = await post(app, url, { email, password: PASSWORD })
      t.match(response.json(), { status: 400, code: 'VALIDATION_ERROR', errors: [{ pointer: '/email', message: String }] }, why)
      t.notOk(email.length > 9 && response.body.includes(email), why)
    }
  }
})

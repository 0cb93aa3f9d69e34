import fc from 'fast-check'
import { bytesOf } from './bytes.ts'

/** Texts that have broken services. */
const TEXTS = [
  '', ' ', '\t', '\0', 'a\0b', '\ud800', 'a\udfffb', '\udc00\ud800', '\ufeff', '\ufffd', '\uffff', '\u2028', '\u202egnp.exe', '\x7f', '\x85',
  "' or 1=1 --", "'; drop table users; --", '%', '%s%n', '%00', '\\', '"', '`id`', '$(id)', '${' + 'jndi:ldap://x}', '{{constructor}}', '<script>alert(1)</script>',
  '../../etc/passwd', '..\\..\\', 'file:///etc/passwd', 'a\r\nSet-Cookie: a=b', 'null', 'undefined', 'NaN', 'true', '0', '[object Object]', '__proto__', 'constructor',
  '\u212aelvin@example.com', 'ad\u0131n@example.com', '\uff41da@example.com', 'ada@\u24d4xample.com', 'a@b', '@', 'a@@b.co', '"a b"@example.com', 'a@[127.0.0.1]', 'a@b.co\n', 'a@xn--.com', 'a@xn--a.com', 'a@\u00ad.com', 'a.@b.co', `a@${'b.'.repeat(120)}co`,
  'e\u0301', '\ufdfa'.repeat(20), '\u{1f469}\u200d\u{1f469}\u200d\u{1f467}'.repeat(30), 'password', '12345678', 'microts rules', '\u0130'.repeat(100), '\u1e9e'.repeat(9), '\u0344'.repeat(100),
  'urn:uuid:01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '{01936f5e-7c1d-7f3a-9b1e-2f4c8a6d0e11}', 'rt1.', `rt1.${'A'.repeat(91)}`, `rt1.${'_'.repeat(91)}`, '{{refreshToken}}=', '{{accessToken}}'
]
const codeUnit = fc.nat(0xffff).map((code) => String.fromCharCode(code))
const long = fc.tuple(fc.constantFrom('a', '\u00e9', '\u{1f600}', ' ', '"', '@', 'a@'), fc.constantFrom(99, 100, 101, 128, 129, 254, 255, 320, 321, 1000, 1001, 5000, 10_240, 10_241)).map(([unit, length]) => unit.repeat(length))

export const hostileText = fc.oneof(fc.constantFrom(...TEXTS), fc.string({ unit: codeUnit }), fc.string({ unit: 'binary' }), long)

export const hostileKey = fc.oneof(fc.constantFrom(
  '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', 'role', 'isAdmin', 'emailVerified', 'id', 'userId', 'passwordHash', 'epoch', '', ' ', '\0', '$ref', 'length', 'email ', 'Email', '\ud800'
), fc.string({ unit: 'grapheme' }))

/** JSON texts of any type. */
export const anyJson = fc.oneof(
  fc.constantFrom('null', 'true', 'false', '[]', '{}', '[null]', '""', '0', '-0', '1', '12345678', '0.1', '1e400', '-1e400', '1e-400', '9007199254740993', '9'.repeat(400), '["a@b.co"]', '{"length":8}', '{"toString":1}', '{"__proto__":{"polluted":1}}', '{"constructor":{"prototype":{"polluted":1}}}'),
  fc.json({ maxDepth: 3 }).map(bytesOf)
)

const nested = (open: string, close: string, depth: number) => open.repeat(depth) + close.repeat(depth)

/** Bodies that are no object of anybody's schema. */
export const hostileBody = fc.oneof(
  anyJson,
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  fc.constantFrom(
    '', ' ', '\n', '{', '}', '{"', '{"a":}', '{a:1}', "{'a':1}", '{"a":1,}', '{"a":1}{"b":2}', '{"a":1} x', '/**/{}', '//\n{}', 'NaN', 'undefined', '{"a":NaN}', '{"a":01}', '{"a":"\t"}', '{"a":"\\x"}', '{"a":"\\ud800"}',
    '\xef\xbb\xbf{}', '\xef\xbb\xbf\xef\xbb\xbf{}', '\xff\xfe{\0}\0', '\0{\0}', '\x1f\x8b\x08\0\0', '{"a":"\xff"}', '{"a":"\xc0\x80"}', '{"a":"\xed\xa0\x80"}', '{"a":"\xf0\x9f"}', '\xa0{}',
    '{"__proto__":null}', '{"\\u005f_proto__":{"polluted":1}}', '{"a":{"__proto__":{"polluted":1}}}', '{"constructor":{"prototype":{"polluted":1}}}', '{"constructor":{"\\u0070rototype":null}}',
    nested('[', ']', 5000), nested('[', '', 10_000), nested('{"a":', '', 2000), `${'{"a":'.repeat(1700)}1${'}'.repeat(1700)}`, `[${'0,'.repeat(5000)}0]`, `{${'"a":0,'.repeat(1600)}"b":0}`,
    ' '.repeat(10_240), ' '.repeat(10_241), `{}${' '.repeat(10_238)}`, `{}${' '.repeat(10_239)}`, 'a'.repeat(70_000),
    '=', '&', '&&&', 'a', 'a=b', 'a=b&a=c', 'email', 'email=%', 'email=%zz', 'email=%ff', 'email=%00', '__proto__=1', 'constructor=1', 'email[]=a', 'email.a=b', `${'a&'.repeat(5000)}`, '%65mail=a%40b.co&password=x',
    '--x\r\nContent-Disposition: form-data; name="email"\r\n\r\na@b.co\r\n--x--\r\n', '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
  )
)

import { test } from 'tap'
import { build, PASSWORD, signUp } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { head, wire } from '../wire.ts'
import type { FastifyInstance } from 'fastify'

// RFC 9110 sections 8.8.3 and 13: what is a list of entity tags, and what it says of this one.
type Spellings = Record<string, (tag: string) => string>
const inside = (tag: string) => tag.slice(1, -1)
const STAR: Spellings = { 'a star': () => '*' }
const NAMES: Spellings = {
  'the tag': (tag) => tag,
  'first of two': (tag) => `${tag}, "x"`,
  'last of three': (tag) => `"x",W/"y" ,\t${tag}`,
  'beside empty elements': (tag) => `, ,${tag},,`,
  'beside a comma in quotes': (tag) => `"a,b", ${tag}`,
  'beside an empty tag': (tag) => `"", ${tag}`,
  'beside a backslash, which escapes nothing': (tag) => `"\\", ${tag}`,
  'beside obs-text': (tag) => `"\xff", ${tag}`,
  'among spaces and tabs': (tag) => ` \t${tag}\t `
}
const WEAKLY: Spellings = {
  'the tag, weak': (tag) => `W/${tag}`,
  'weak, among others': (tag) => `"x", W/${tag}`
}
const NOT: Spellings = {
  'another tag': () => '"x"',
  'an empty tag': () => '""',
  'the tag without quotes': inside,
  'half in quotes': (tag) => tag.slice(0, -1),
  'in single quotes': (tag) => `'${inside(tag)}'`,
  'with W/ inside': (tag) => `"W/${inside(tag)}"`,
  'with W/ in its middle': (tag) => `"${inside(tag).slice(0, 9)}W/${inside(tag).slice(9)}"`,
  'a small w': (tag) => `w/${tag}`,
  'a space after W/': (tag) => `W/ ${tag}`,
  'weak twice': (tag) => `W/W/${tag}`,
  'a star in quotes': () => '"*"',
  'a weak star': () => 'W/*',
  'two stars': () => '**',
  'no comma between': (tag) => `"x" ${tag}`,
  'a longer one': (tag) => `"${inside(tag)}x"`,
  'in the other case': (tag) => tag.toUpperCase() === tag ? tag.toLowerCase() : tag.toUpperCase(),
  nothing: () => '',
  'a comma': () => ','
}

async function sender (app: FastifyInstance, accessToken: string) {
  const { send } = await wire(app)
  return (line: string, headers: string[] = [], body = '', token = accessToken) =>
    send(Buffer.from(head(line, `Authorization: Bearer ${token}`, ...(body ? ['Content-Type: application/json', `Content-Length: ${body.length}`] : []), ...headers) + body, 'latin1'))
}

test('If-None-Match is a list of tags, compared weakly', async (t) => {
  const app = await build(t)
  const ask = await sender(app, (await signUp(app)).accessToken)
  for (const path of ['/me', '/.well-known/jwks.json']) {
    const fresh = await ask(`GET ${path}`)
    const etag = String(fresh.headers.etag)
    t.match(etag, /^"[\x21\x23-\x7e]+"$/)
    for (const [what, spell] of Object.entries({ ...NAMES, ...WEAKLY, ...STAR })) {
      for (const method of ['GET', 'HEAD']) {
        const { statusCode, headers, body } = await ask(`${method} ${path}`, [`If-None-Match: ${spell(etag)}`])
        t.same([statusCode, body, headers.etag, headers['cache-control']], [304, '', etag, fresh.headers['cache-control']], `${method} ${path} ${what}`)
        t.equal(headers['content-length'], undefined, 'or that of the 200 (RFC 9110 section 8.6)')
      }
    }
    for (const [what, spell] of Object.entries(NOT)) {
      const { statusCode, body } = await ask(`GET ${path}`, [`If-None-Match: ${spell(etag)}`])
      t.same([statusCode, body], [200, fresh.body], `${path} ${what}`)
    }
    t.equal((await ask(`GET ${path}`, ['If-None-Match: "x"', `If-None-Match: ${etag}`])).statusCode, 304, 'two headers are one list')
  }
})

test('If-Match is a list of tags, compared strongly, and what it refuses changes nothing', async (t) => {
  const app = await build(t)
  const ask = await sender(app, (await signUp(app)).accessToken)
  let changes = 0
  const rename = (...headers: string[]) => ask('PATCH /me', headers, `{"displayName":"name ${++changes}"}`)
  const now = async () => String((await ask('GET /me')).headers.etag)

  for (const [what, spell] of Object.entries({ ...NAMES, ...STAR })) {
    const before = await now()
    const { statusCode, headers } = await rename(`If-Match: ${spell(before)}`)
    t.equal(statusCode, 200, what)
    t.not(headers.etag, before)
    t.equal(headers.etag, await now())
  }
  const etag = await now()
  for (const [what, spell] of Object.entries({ ...NOT, ...WEAKLY })) isProblem(t, await rename(`If-Match: ${spell(etag)}`), 412, 'PRECONDITION_FAILED', what)
  t.equal(await now(), etag)
  t.equal((await rename('If-Match: "x"', `If-Match: ${etag}`)).statusCode, 200, 'two headers are one list')
})

test('a condition counts for every method of a resource that has a version', async (t) => {
  const app = await build(t)
  const ask = await sender(app, (await signUp(app)).accessToken)
  const { headers: { etag } } = await ask('GET /me')
  const table: [line: string, header: string, body?: string][] = [
    ['GET /me', 'If-Match: "stale"'], ['GET /me', `If-Match: W/${etag}`],
    ['PATCH /me', 'If-None-Match: *', '{"displayName":"x"}'], ['PATCH /me', `If-None-Match: ${etag}`, '{"displayName":"x"}'],
    ['DELETE /me', 'If-Match: "stale"', JSON.stringify({ password: PASSWORD })], ['DELETE /me', 'If-None-Match: *', JSON.stringify({ password: PASSWORD })]
  ]
  for (const [line, header, body] of table) isProblem(t, await ask(line, [header], body), 412, 'PRECONDITION_FAILED', `${line} ${header}`)
  t.equal((await ask('GET /me')).headers.etag, etag, 'nothing has changed')
  t.equal((await ask('DELETE /me', [`If-Match: ${etag}`], JSON.stringify({ password: PASSWORD }))).statusCode, 204)
})

test('a condition is judged after everything else that could be wrong', async (t) => {
  const app = await build(t)
  const { accessToken } = await signUp(app)
  const ask = await sender(app, accessToken)
  isProblem(t, await ask('GET /me', ['If-None-Match: *'], '', `${accessToken}x`), 401, 'UNAUTHORIZED')
  isProblem(t, await ask('PATCH /me', ['If-Match: "stale"'], '{"displayName":"x"}', `${accessToken}x`), 401, 'UNAUTHORIZED')
  isProblem(t, await ask('PATCH /me', ['If-Match: "stale"'], '{"displayName":1}'), 400, 'VALIDATION_ERROR')
  isProblem(t, await ask('PUT /me', ['If-Match: "stale"'], '{}'), 405, 'METHOD_NOT_ALLOWED')
  t.equal((await ask('GET /me', ['If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT'])).statusCode, 200, 'there is no Last-Modified')
  t.equal((await ask('GET /me', ['Range: bytes=0-3'])).statusCode, 200, 'there are no ranges')
})

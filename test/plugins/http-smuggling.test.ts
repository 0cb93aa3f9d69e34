import { test } from 'tap'
import { build } from '../helper.ts'
import { isProblem } from '../problem.ts'
import { wire, type Answer } from '../wire.ts'

const NEXT = 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'
const LAST = 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
const CHUNKED = 'Transfer-Encoding: chunked'
const request = (line: string, ...headers: string[]) => [`${line} HTTP/1.1`, ...headers, '', ''].join('\r\n')
const get = (...headers: string[]) => request('GET /health', 'Host: localhost', ...headers)
const post = (header: string, body: string, ...more: string[]) => request('POST /auth/login', 'Host: localhost', 'Content-Type: application/json', header, ...more) + body

/** The statuses of all answers on one connection. */
const statuses = ({ statusCode, body }: Answer) => [statusCode, ...[...body.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))]

test('what two readers could understand in two ways is refused, and the connection with all that follows is closed', async (t) => {
  const { send } = await wire(await build(t))
  const lengths = ['+2', '-2', '-0', '0x2', '2 2', '2,2', '2, 2', '2;', '2.0', '1e1', '', 'two', '\x0b2', '18446744073709551618', '9'.repeat(40)]
  const codings = ['identity', 'xchunked', '"chunked"', '', 'chunked;q=1', 'chunked, gzip', 'chunked,', 'chunked, chunked', '\x0bchunked', '\r\n chunked']
  const chunks = ['2 \r\n{}\r\n0\r\n\r\n', ' 2\r\n{}\r\n0\r\n\r\n', '0x2\r\n{}\r\n0\r\n\r\n', '+2\r\n{}\r\n0\r\n\r\n', '-2\r\n{}\r\n0\r\n\r\n', '2\n{}\n0\n\n', '2\r{}\r0\r\r', '2\r\n{}0\r\n\r\n', '2\r\n{}XX0\r\n\r\n', '2;a\nb\r\n{}\r\n0\r\n\r\n', '\r\n\r\n', `${'f'.repeat(17)}\r\n{}`, '2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n', '2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n', '2\r\n{}\r\n0\r\nno trailer\r\n\r\n']
  const heads = [
    get('X: a\r\n b'), get('X: a\r\n\tb'), get(' X: a'), get('X : a'), get('X\t: a'), get(': a'), get('no colon'), get('X\0: a'), get('X: a\0'), get('X: a\rY: b'), get('X: a\nY: b'), get('X: a\x7f'), get('X: \x1b[31m'), get('\xc3\xa9: a'),
    `GET /health HTTP/1.1\nHost: localhost\n\n${NEXT}`, `GET /health HTTP/1.1\r\r\nHost: localhost\r\n\r\n${NEXT}`, 'GET  HTTP/1.1\r\nHost: localhost\r\n\r\n', 'GET\t/health\tHTTP/1.1\r\nHost: localhost\r\n\r\n', ` ${NEXT}`,
    ...['HTTP/1.2', 'HTTP/01.1', 'HTTP/1.10', 'HTTP/9.9', 'http/1.1', 'HTTPS/1.1', 'HTTP/1.1 '].map((version) => `GET /health ${version}\r\nHost: localhost\r\n\r\n`)
  ]
  const table = [
    ...lengths.map((length) => post(`Content-Length: ${length}`, '{}')),
    ...codings.map((coding) => post(`Transfer-Encoding: ${coding}`, '2\r\n{}\r\n0\r\n\r\n')),
    ...chunks.map((body) => post(CHUNKED, body)),
    ...heads,
    post('Content-Length: 2', '{}', 'Content-Length: 2'), post('Content-Length: 2', '{}', 'Content-Length: 3'), post(CHUNKED, '2\r\n{}\r\n0\r\n\r\n', CHUNKED), post('Transfer-Encoding : chunked', '2\r\n{}\r\n0\r\n\r\n'),
    post('Content-Length: 2', '2\r\n{}\r\n0\r\n\r\n', CHUNKED), post(CHUNKED, '2\r\n{}\r\n0\r\n\r\n', 'Content-Length: 2'), post(CHUNKED, '2\r\n{}\r\n0\r\n\r\n').replace('HTTP/1.1', 'HTTP/1.0'), get('Content-Length: 2', CHUNKED) + '0\r\n\r\n'
  ]
  for (const text of table) {
    const answer = await send(Buffer.from(text + NEXT, 'latin1'))
    isProblem(t, answer, 400, 'BAD_REQUEST', JSON.stringify(text))
    t.same(statuses(answer), [400], JSON.stringify(text))
    t.equal(String(answer.headers.connection).toLowerCase(), 'close')
    t.match(answer.headers.date, / GMT$/, 'RFC 9110 section 6.6.1')
  }
})

test('a host that is missing, twice there or none closes the connection as well', async (t) => {
  const { send } = await wire(await build(t))
  const table = [
    request('GET /health'), request('GET /health', 'Host: localhost', 'Host: localhost'), request('GET /health', 'Host: localhost', 'hOST: other'), request('GET /nothing'), request('PUT /health'), request('OPTIONS /health'),
    ...['a b', 'a@b', 'a/b', 'a?b', 'a#b', 'a\\b', '"a"', '<a>', 'a, b', 'a:b', 'a:1:2', '[::1', '\xff'].map((host) => request('GET /health', `Host: ${host}`))
  ]
  for (const text of table) {
    const answer = await send(Buffer.from(text + LAST, 'latin1'))
    isProblem(t, answer, 400, 'BAD_REQUEST', JSON.stringify(text))
    t.same(statuses(answer), [400], JSON.stringify(text))
  }
  for (const host of ['a', 'A.example', 'localhost:3000', 'a:', '127.0.0.1:80', '[::1]:80', '[2001:db8::1]', 'a_b', 'xn--mnchen-3ya.de']) {
    t.same(statuses(await send(request('GET /health', `Host: ${host}`, 'Connection: close'))), [200], host)
  }
})

test('what makes a request ambiguous may come after thousands of other headers', async (t) => {
  const { send } = await wire(await build(t))
  const many = Array<string>(3000).fill('a:')
  const json = request('POST /auth/login', 'Host: localhost', 'Content-Type: application/json', ...many, 'Content-Encoding: gzip', 'Content-Length: 2', 'Connection: close') + '{}'
  const table: [text: string, status: number][] = [
    [request('GET /health', 'Host: localhost', ...many, 'Connection: close'), 200],
    [request('GET /health', 'Host: localhost', ...many, 'Host: other') + LAST, 400],
    [post('Transfer-Encoding: gzip, chunked', '2\r\n{}\r\n0\r\n\r\n').replace('Transfer', `${many.join('\r\n')}\r\nTransfer`) + LAST, 400],
    [json, 415]
  ]
  for (const [text, status] of table) t.same(statuses(await send(text)), [status], text.slice(-200))
})

test('a path that leads nowhere is no way round that', async (t) => {
  const { send } = await wire(await build(t))
  for (const [path, status] of [['/%zz', 400], [`/me/sessions/${'x'.repeat(101)}`, 414]] as const) {
    const heads = [
      request(`GET ${path}`), request(`GET ${path}`, 'Host: localhost', 'Host: other'), request(`POST ${path}`, 'Host: localhost', 'Transfer-Encoding: gzip, chunked') + '0\r\n\r\n',
      `GET ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, request(`GET ${path}`, 'Host: localhost', 'Upgrade: x', 'Connection: upgrade')
    ]
    for (const text of heads) {
      const answer = await send(text + LAST)
      t.same(statuses(answer), [status], JSON.stringify(text))
      t.equal(answer.headers.connection, 'close')
    }
  }
})

test('a coding of the transfer that is not known here is refused, since the body would be taken for what it is not', async (t) => {
  const { send } = await wire(await build(t))
  for (const coding of ['gzip, chunked', 'deflate,chunked', 'x, chunked']) {
    const answer = await send(post(`Transfer-Encoding: ${coding}`, '2\r\n{}\r\n0\r\n\r\n') + LAST)
    t.match(statuses(answer), [/^(400|501)$/], 'RFC 9112 section 6.1')
    isProblem(t, answer, answer.statusCode, 'BAD_REQUEST', coding)
    t.equal(statuses(answer).length, 1)
  }
})

test('a version of HTTP that is not ours is no request', async (t) => {
  const { send } = await wire(await build(t))
  for (const version of ['HTTP/2.0', 'HTTP/0.9']) {
    const answer = await send(`GET /health ${version}\r\nHost: localhost\r\n\r\n`)
    t.ok([400, 505].includes(answer.statusCode), `${version} ${answer.statusCode}`)
  }
  t.match(await send('GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n'), { statusCode: 200, headers: { connection: 'close' } })
})

test('a body that nobody reads is passed over, even one that looks like a request', async (t) => {
  const { send } = await wire(await build(t))
  const table: [line: string, type: string, status: number][] = [
    ['PATCH /me', 'application/json', 401], ['POST /auth/login', 'text/plain', 415], ['PUT /health', 'application/json', 405], ['TRACE /health', 'application/json', 405], ['PROPFIND /me', 'text/xml', 405],
    ['GET /health', 'text/plain', 200], ['HEAD /health', 'application/json', 200], ['POST /nothing', 'text/plain', 404], ['POST /%zz', 'application/json', 400]
  ]
  for (const [line, type, status] of table) {
    const whole = request(line, 'Host: localhost', `Content-Type: ${type}`, `Content-Length: ${NEXT.length}`) + NEXT
    const chunked = request(line, 'Host: localhost', `Content-Type: ${type}`, CHUNKED) + `${NEXT.length.toString(16)}\r\n${NEXT}\r\n0\r\n\r\n`
    for (const text of [whole, chunked]) t.same(statuses(await send(text + LAST)), [status, 200], text)
  }
})

test('a request is the same however it is cut', async (t) => {
  const { send } = await wire(await build(t))
  const body = '{"email":"ada@example.com","password":"\xc3\xa9\xc3\xa9"}'
  const bytes = [...body].map((byte) => `1\r\n${byte}\r\n`).join('')
  const spellings = [
    post(`Content-Length: ${body.length}`, body), post(`Content-Length: 00${body.length}`, body), post(`Content-Length:\t${body.length} `, body), post('Transfer-Encoding: Chunked ', `${bytes}0\r\n\r\n`),
    post(CHUNKED, `${body.length.toString(16).padStart(8, '0')};a="b;c";d\r\n${body}\r\n0;x=y\r\n\r\n`), post(CHUNKED, `${bytes}0\r\nHost: other\r\nAuthorization: Bearer x\r\n\r\n`), `\r\n\r\n${post(CHUNKED, `${bytes}0\r\n\r\n`)}`
  ]
  for (const text of spellings) {
    const bytes = Buffer.from(text + LAST, 'latin1')
    for (const pieces of [[bytes], Array.from(bytes, (byte) => Buffer.of(byte))]) t.same(statuses(await send(...pieces)), [401, 200], text)
  }
})

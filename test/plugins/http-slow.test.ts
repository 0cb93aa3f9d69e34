import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { build } from '../helper.ts'
import { wire } from '../wire.ts'

const POST = 'POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
const SLOWLY_MS = 20   // the pace of the client

/** What a client gets that sends one piece after another, for as long as it is let. */
async function drip (port: number, first: string, piece: string) {
  const socket = connect(port)
  socket.write(first)
  const timer = setInterval(() => socket.writable && socket.write(piece), SLOWLY_MS)
  return text(socket).catch(() => '').finally(() => clearInterval(timer))
}

test('no client holds a connection by sending little by little', async (t) => {
  const app = await build(t)
  const { port } = await wire(app)
  Object.assign(app.server, { headersTimeout: 200, requestTimeout: 200 })
  const table: Record<string, [first: string, piece: string]> = {
    'nothing at all': ['', ''],
    'empty lines': ['\r\n', '\r\n'],
    'a method letter by letter': ['GET /', 'a'],
    'header by header': ['GET /health HTTP/1.1\r\nHost: localhost\r\n', 'X-A: b\r\n'],
    'a header letter by letter': ['GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ', 'b'],
    'a body byte by byte': [`${POST}Content-Length: 9000\r\n\r\n`, ' '],
    'a body that never begins': [`${POST}Content-Length: 9\r\n\r\n`, ''],
    'a body that was waited for': [`${POST}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n`, ''],
    'chunk by chunk': [`${POST}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n \r\n'],
    'an endless chunk': [`${POST}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n`, ' '],
    'a chunk extension': [`${POST}Transfer-Encoding: chunked\r\n\r\n1;`, 'a'],
    'trailer by trailer': [`${POST}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n`, 'X: a\r\n']
  }
  await Promise.all(Object.entries(table).map(async ([what, [first, piece]]) => {
    const answer = await drip(port, first, piece)
    const last = answer.slice(answer.lastIndexOf('HTTP/1.1 '))
    t.match(last, /^HTTP\/1\.1 408 /, what)
    t.match(last, /content-type: application\/problem\+json\r\n/, what)
    t.match(last, /connection: close\r\n/, what)
    t.match(JSON.parse(last.split('\r\n\r\n')[1] || '{}'), { status: 408, code: 'REQUEST_TIMEOUT', title: 'Request timeout' }, what)
  }))
})

export type Header = [name: string, value: string]

/** A request before it is written. All text is bytes, a character each; what stands in {{ }} is a value of a persona. */
export type Request = {
  method: string
  target: string
  headers: Header[]
  body: string
  framing: keyof typeof FRAMINGS
  head: keyof typeof HEADS
  /** Which parts are not as the document wants them. */
  odd: string[]
}

const CHUNK = 7

/** How a body is announced, and what it is then sent as. */
const FRAMINGS = {
  none: (body: string) => ({ announced: [], sent: body }),
  length: (body: string) => ({ announced: [`Content-Length: ${body.length}`], sent: body }),
  chunked: (body: string) => ({ announced: ['Transfer-Encoding: chunked'], sent: chunked(body) }),
  short: (body: string) => ({ announced: [`Content-Length: ${body.length + 5}`], sent: body }),
  long: (body: string) => ({ announced: [`Content-Length: ${Math.max(0, body.length - 3)}`], sent: body }),
  'length that is no number': (body: string) => ({ announced: ['Content-Length: 1e1'], sent: body }),
  'negative length': (body: string) => ({ announced: ['Content-Length: -1'], sent: body }),
  'huge length': (body: string) => ({ announced: ['Content-Length: 99999999999999999999'], sent: body }),
  'two lengths': (body: string) => ({ announced: [`Content-Length: ${body.length}`, 'Content-Length: 3'], sent: body }),
  'length and chunked': (body: string) => ({ announced: [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked'], sent: chunked(body) }),
  'chunked twice': (body: string) => ({ announced: ['Transfer-Encoding: chunked, chunked'], sent: chunked(body) }),
  'compressed, it says': (body: string) => ({ announced: ['Transfer-Encoding: gzip, chunked'], sent: chunked(body) }),
  'chunks that are none': (body: string) => ({ announced: ['Transfer-Encoding: chunked'], sent: body }),
  'chunks without an end': (body: string) => ({ announced: ['Transfer-Encoding: chunked'], sent: chunked(body).slice(0, -5) }),
  'chunks with extensions and trailers': (body: string) => ({ announced: ['Transfer-Encoding: chunked'], sent: `${chunked(body, ';a="b"').slice(0, -2)}Authorization: x\r\n\r\n` })
}

function chunked (body: string, extension = '') {
  const chunks = body.match(new RegExp(`[^]{1,${CHUNK}}`, 'g')) ?? []
  return [...chunks, ''].map((chunk) => `${chunk.length.toString(16)}${extension}\r\n${chunk}\r\n`).join('')
}

/** What may be done to the lines of a head; the first two are the request line and Host. */
const HEADS = {
  plain: (lines: string[]) => lines,
  'HTTP/1.0': ([line = '', ...rest]: string[]) => [line.replace('HTTP/1.1', 'HTTP/1.0'), ...rest],
  'HTTP/2.0': ([line = '', ...rest]: string[]) => [line.replace('HTTP/1.1', 'HTTP/2.0'), ...rest],
  'no version': ([line = '', ...rest]: string[]) => [line.replace(' HTTP/1.1', ''), ...rest],
  'no Host': ([line = '', , ...rest]: string[]) => [line, ...rest],
  'two Hosts': (lines: string[]) => [...lines, 'Host: example.com'],
  'empty Host': ([line = '', , ...rest]: string[]) => [line, 'Host:', ...rest],
  'a hostile Host': ([line = '', , ...rest]: string[]) => [line, 'Host: a b/@[::1]:99999\xff', ...rest],
  'an empty line first': (lines: string[]) => ['', ...lines],
  'a folded line': (lines: string[]) => [...lines, 'X-Folded: a', ' b'],
  'a space before the colon': (lines: string[]) => [...lines, 'X-Spaced : a'],
  'a line without a colon': (lines: string[]) => [...lines, 'nonsense'],
  'a nameless line': (lines: string[]) => [...lines, ': a'],
  'a NUL': (lines: string[]) => [...lines, 'X-Nul: a\0b'],
  'a bare CR': (lines: string[]) => [...lines, 'X-Cr: a\rb'],
  'a bare LF': (lines: string[]) => [...lines, 'X-Lf: a\nX-Lf2: b'],
  '20 kB': (lines: string[]) => [...lines, `X-Long: ${'a'.repeat(20_000)}`],
  '15 kB': (lines: string[]) => [...lines, `X-Long: ${'a'.repeat(15_000)}`],
  '1,500 lines': (lines: string[]) => [...lines, ...Array(1500).fill('a: b')]
}

export const ODD_FRAMINGS = Object.keys(FRAMINGS).slice(3) as Request['framing'][]
export const ODD_HEADS = Object.keys(HEADS).slice(1) as Request['head'][]

const NAME = /\{\{(\w+)\}\}/g

/** The names of the values that a request wants. */
export const namesIn = ({ target, headers, body }: Request) =>
  [target, ...headers.map(([, value]) => value), body].flatMap((text) => [...text.matchAll(NAME)].map(([, name = '']) => name))

/** The request with the values it names; those that nobody knows stay names. */
export function filled (request: Request, values: ReadonlyMap<string, string>): Request {
  const fill = (text: string) => text.replace(NAME, (whole, name) => values.get(name) ?? whole)
  const headers = request.headers.map(([name, value]): Header => [name, fill(value)])
  return { ...request, headers, target: fill(request.target), body: fill(request.body) }
}

export function write ({ method, target, headers, body, framing, head }: Request) {
  const { announced, sent } = FRAMINGS[framing](body)
  const lines = [`${method} ${target} HTTP/1.1`, 'Host: localhost', ...headers.map((header) => header.join(': ')), ...announced]
  return Buffer.from([...HEADS[head](lines), '', sent].join('\r\n'), 'latin1')
}

/** Bytes as one can read, and copy, them: `printf '%b'` makes them again. */
export const printed = (bytes: Buffer) =>
  bytes.toString('latin1').replace(/[^ -~\n\r]|\\/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`).replaceAll('\r', '\\r').replaceAll('\n', '\\n\n')

/** A text as the bytes of its UTF-8, a character each; lone surrogates become what they would be in a UTF-8 that took them. */
export const bytesOf = (text: string) => [...text].map((character) => {
  const code = character.charCodeAt(0)
  if (character.length > 1 || code < 0xd800 || code > 0xdfff) return Buffer.from(character).toString('latin1')
  return String.fromCharCode(0xe0 | code >> 12, 0x80 | code >> 6 & 0x3f, 0x80 | code & 0x3f)
}).join('')

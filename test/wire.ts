import { connect, type AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'

export type Answer = { statusCode: number, headers: Record<string, unknown>, body: string }

/** Lets the app listen, and answers a function that sends bytes as they are: no client tidies them up. */
export async function wire (app: FastifyInstance) {
  await app.listen({ port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { port, send }

  /** The answer to what is sent, once the connection is closed. */
  async function send (...chunks: (string | Buffer)[]): Promise<Answer> {
    const socket = connect(port)
    const { promise: closed, resolve } = Promise.withResolvers<unknown>()
    const received: Buffer[] = []
    // A server that refuses early may reset a connection on which there is more to read.
    socket.on('data', (chunk) => received.push(chunk)).on('error', () => {}).on('close', resolve)
    for (const chunk of chunks) socket.write(chunk)
    await closed
    return parse(Buffer.concat(received).toString())
  }
}

function parse (text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  if (head.startsWith('HTTP/1.1 1')) return parse(rest.join('\r\n\r\n'))
  const [statusLine = '', ...lines] = head.split('\r\n')
  return { statusCode: Number(statusLine.split(' ')[1]), headers: headersOf(lines), body: rest.join('\r\n\r\n') }
}

/** One that comes twice has both values. */
function headersOf (lines: string[]) {
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const [name = '', value = ''] = line.split(/: ?(.*)/, 2)
    const key = name.toLowerCase()
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value
  }
  return headers
}

/** The head of a request that the server closes the connection after. */
export const head = (line: string, ...headers: string[]) =>
  [`${line} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers, '', ''].join('\r\n')

import { connect } from 'node:net'

export type Answer = { status: number, headers: Record<string, string>, body: string, /** What came after it. */ excess: string }

const DEADLINE_MS = 10_000

/** A connection on which bytes are sent as they are, and answers are read one after another. */
export function openConnection ({ hostname, port }: URL) {
  const socket = connect({ host: hostname, port: Number(port) })
  let received = Buffer.alloc(0)
  let isClosed = false
  let wake = () => {}
  socket.on('data', (chunk) => { received = Buffer.concat([received, chunk]); wake() })
    .on('error', () => {})        // a server that refuses early may reset a connection on which there is more to read
    .on('close', () => { isClosed = true; wake() })

  return {
    get isClosed () { return isClosed },
    close: () => socket.destroy(),

    /** The answer; undefined where the connection is closed without one. Throws when nothing happens for too long. */
    async exchange (bytes: Buffer, method: string, isAll: boolean): Promise<Answer | undefined> {
      let isLate = false
      const timer = setTimeout(() => { isLate = true; wake() }, DEADLINE_MS)
      socket.write(bytes)
      if (isAll) socket.end()
      try {
        for (;;) {
          const answer = parse(received, method, isClosed)
          if (answer) {
            received = Buffer.alloc(0)
            return answer
          }
          if (isClosed) return undefined
          if (isLate) throw new Error(`no answer within ${DEADLINE_MS} ms, but ${JSON.stringify(received.toString('latin1'))}`)
          await new Promise<void>((resolve) => { wake = resolve })
        }
      } finally {
        clearTimeout(timer)
      }
    }
  }
}

/** The first final answer in what was received; undefined where it is not complete. */
function parse (received: Buffer, method: string, isClosed: boolean): Answer | undefined {
  const end = received.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [statusLine = '', ...lines] = received.toString('latin1', 0, end).split('\r\n')
  const status = Number(statusLine.match(/^HTTP\/1\.1 (\d{3}) /)?.[1])
  const rest = received.subarray(end + 4)
  if (status < 200) return parse(rest, method, isClosed)
  const headers = Object.fromEntries(lines.map((line) => line.split(/: ?(.*)/, 2)).map(([name = '', value = '']) => [name.toLowerCase(), value]))
  const length = lengthOf(rest, { status, headers, method, isClosed })
  if (length === undefined || rest.length < length) return undefined
  return { status, headers, body: rest.toString('utf8', 0, length), excess: rest.toString('latin1', length) }
}

type Framed = Pick<Answer, 'status' | 'headers'> & { method: string, isClosed: boolean }

// Every answer of ours says how long it is, but for large files of /docs.
function lengthOf (rest: Buffer, { status, headers, method, isClosed }: Framed) {
  if (method === 'HEAD' || status === 204 || status === 304) return 0
  if (headers['content-length'] !== undefined) return Number(headers['content-length'])
  return isClosed || rest.toString('latin1').endsWith('0\r\n\r\n') ? rest.length : undefined
}

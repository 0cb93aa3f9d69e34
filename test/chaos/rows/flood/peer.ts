import { connect } from 'node:net'

export type Reply = { status: number, retryAfter: string | undefined }
export type Peer = ReturnType<typeof createPeer>

const HEAD_END = '\r\n\r\n'

/** A connection that asks for one thing at a time, and costs the machine little. Status 0 is no answer. */
export function createPeer (address: string) {
  const { hostname, port } = new URL(address)
  const socket = connect({ host: hostname, port: Number(port), noDelay: true }).setEncoding('latin1')
  let received = ''
  let settle: ((reply: Reply) => void) | undefined
  let isClosed = false
  socket.on('data', (text: string) => {
    received += text
    const reply = parse(received)
    if (reply) answer(reply)
  })
  socket.on('error', () => {}).on('close', () => {
    isClosed = true
    answer({ status: 0, retryAfter: undefined })
  })

  return {
    get isClosed () { return isClosed },
    close: () => socket.destroy(),

    ask (request: string) {
      return new Promise<Reply>((resolve) => {
        settle = resolve
        if (isClosed) answer({ status: 0, retryAfter: undefined })
        else socket.write(request)
      })
    }
  }

  function answer (reply: Reply) {
    received = ''
    settle?.(reply)
    settle = undefined
  }
}

export function loginRequest (payload: object) {
  const body = JSON.stringify(payload)
  return `POST /auth/login HTTP/1.1\r\nhost: flood\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}${HEAD_END}${body}`
}

/** The answer, once it is whole. */
function parse (text: string): Reply | undefined {
  const end = text.indexOf(HEAD_END)
  if (end < 0) return undefined
  const head = text.slice(0, end)
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
  if (text.length < end + HEAD_END.length + length) return undefined
  return { status: Number(head.slice(9, 12)), retryAfter: /^retry-after: (\d+)/im.exec(head)?.[1] }
}

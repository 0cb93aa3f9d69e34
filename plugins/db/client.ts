import pg from 'pg'
import type { Socket } from 'node:net'

/** Says good-bye to the server and waits for no answer: a silent one would hold up who closes the pool, and the process, for ever. */
export class Client extends pg.Client {
  override end (): Promise<void>
  override end (done: (error: Error) => void): void
  override end (...done: [] | [(error: Error) => void]) {
    const ended = super.end(...done as [])
    const socket = this.connection.stream as Socket      // with or without TLS
    socket.destroySoon()
    return ended
  }
}

import { EventEmitter, once } from 'node:events'

type Line = { level: number, msg: string, [key: string]: unknown }

/** A stream for the log, which can be read, and waited for. */
export function createLog () {
  const emitter = new EventEmitter()
  const written: string[] = []

  return {
    written,
    write (text: string) {
      written.push(text)
      emitter.emit('line')
    },

    get lines (): Line[] { return written.map((text) => JSON.parse(text)) },

    /** The first line with this message, and these members, once there is one. */
    async line (msg: string, members: Record<string, unknown> = {}): Promise<Line> {
      for (;;) {
        const found = this.lines.find((line) => line.msg === msg && Object.entries(members).every(([name, value]) => line[name] === value))
        if (found) return found
        await once(emitter, 'line')
      }
    }
  }
}

import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'

const nowhere = () => new Writable({ write: (chunk, encoding, done) => done() })

/** Asks in a terminal; what is secret is not shown as it is typed. Whoever gives up with Ctrl-C or Ctrl-D changes nothing. */
export async function ask (question: string, { isSecret = false } = {}) {
  const given = new AbortController()
  const lines = createInterface({ input: process.stdin, output: isSecret ? nowhere() : process.stderr, terminal: true })
  lines.once('close', () => given.abort())
  if (isSecret) process.stderr.write(question)      // by now nothing is echoed
  const answer = await lines.question(question, { signal: given.signal }).catch(() => undefined)
  lines.close()
  if (isSecret) process.stderr.write('\n')
  if (answer !== undefined) return answer
  process.stdin.destroy()      // or it would be waited for
  throw new Error('Nothing is changed')
}

/** What a pipe brings, up to the end of the first line. */
export async function firstLine () {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) {
    chunks.push(chunk)
    if (chunk.includes('\n')) break
  }
  const [line = ''] = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)).split(/\r?\n/, 1)
  return line
}

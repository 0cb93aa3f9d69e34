import pino from 'pino'

const LATEST_MS = 20
const BATCH_LENGTH = 16_384
const MOST_UNWRITTEN = 1_048_576
// A pipe may be as small as 8 kB, and takes no more at a time.
const RETRY_MS = 10
const TRIES_AT_EXIT = 10

/**
 * Standard output, written to in batches: a system call a line costs a busy server more than all else of logging, and the stream's own
 * `minLength` would count what it holds anew with each line. Nothing is lost but by SIGKILL or an abort, or where it cannot be written,
 * as on a full disk or in a pipe that nobody reads: who cannot log still serves, keeps 1 MiB of it until it can, and drops what comes after.
 */
export function createDestination (fd: number = process.stdout.fd) {
  let tries = 0
  // Between two tries it sleeps, and all that serves with it, so that it may do so at the end alone.
  const output = pino.destination({ dest: fd, sync: true, maxLength: MOST_UNWRITTEN, retryEAGAIN: () => tries-- > 0 })
  // Pino's own would have it write nothing ever again once a pipe had no reader.
  output.removeAllListeners('error')
  output.on('error', () => { timer ??= setTimeout(flush, RETRY_MS).unref() })
  // It forgets what does not fit, and to try whether what it holds can be written by now.
  output.on('drop', () => output.write(''))
  let batch = ''
  let timer: NodeJS.Timeout | undefined
  process.once('exit', () => {
    tries = TRIES_AT_EXIT
    flush()
  })

  return { write, flushSync: flush }

  function write (line: string) {
    batch += line
    if (batch.length >= BATCH_LENGTH) flush()
    else timer ??= setTimeout(flush, LATEST_MS).unref()
  }

  function flush () {
    clearTimeout(timer)
    timer = undefined
    const lines = batch
    batch = ''
    // An empty one writes what could not be written before.
    output.write(lines)
  }
}

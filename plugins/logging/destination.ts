import pino from 'pino'

const FLUSH_EVERY_MS = 20
const BATCH_BYTES = 8192

/** Standard output, written to in batches: a system call a line costs a busy server more than all else of logging. Nothing is lost but by SIGKILL. */
export function createDestination () {
  const destination = pino.destination({ dest: process.stdout.fd, sync: true, minLength: BATCH_BYTES, periodicFlush: FLUSH_EVERY_MS })
  process.once('exit', () => destination.flushSync())
  return destination
}

import type { Signal } from '../deadline.ts'

/** Work that went on when its request had ended, and was cut off. */
export class Cut extends Error {
  constructor (reason: unknown) {
    super('cut off, since nobody waits for it any more', { cause: reason })
  }
}

// What is about to end may do so: to cut it costs a connection.
const LINGER_MS = 100

/** The work's own end, or a Cut soon after the signal. */
export async function untilCut<Result> (work: Promise<Result>, signal: Signal | undefined): Promise<Result> {
  if (!signal) return work
  const { promise: cut, reject } = Promise.withResolvers<never>()
  let timer: NodeJS.Timeout | undefined
  const linger = () => { timer = setTimeout(() => reject(new Cut(signal.reason)), LINGER_MS) }
  signal.addEventListener('abort', linger)
  try {
    return await Promise.race([work, cut])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', linger)
  }
}

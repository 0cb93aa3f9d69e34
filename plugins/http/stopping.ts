import closeWithGrace from 'close-with-grace'

export const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] satisfies NodeJS.Signals[]

const SAME_SIGNAL_MS = 250

/** With `err`, whatever that is, where nobody caught it. */
export type Reason = { signal: NodeJS.Signals | undefined } | { err: unknown }

interface Stopping {
  timeoutMs: number
  announce: (reason: Reason) => void
  stop: () => Promise<void>
  complain: (fields: { err?: unknown }, sentence: string) => void
}

/**
 * The first signal, or error that nobody caught, stops the process in order; one more ends it at once. A Ctrl-C may come as several signals:
 * npm and `node --watch` pass on to their child what the terminal has sent it as well.
 */
export function stopWithGrace ({ timeoutMs, announce, stop, complain }: Stopping) {
  let signal: NodeJS.Signals | undefined
  let onSignal = begin
  for (const name of SIGNALS) process.on(name, () => onSignal(name))

  const { close } = closeWithGrace({
    delay: timeoutMs,
    skip: SIGNALS,
    onSecondSignal: endAtOnce,
    onSecondError: (err) => complain({ err }, 'one more error nobody caught: ending at once'),
    onTimeout: (ms) => complain({}, `not stopped after ${ms} ms: ending at once`),
    logger: { error: (err: unknown) => complain({ err }, 'not stopped in order') }
  }, async (reason) => {
    const hasFailed = 'err' in reason
    onSignal = () => {}
    // What came in time, while the event loop was busy, is heard before an immediate runs.
    setTimeout(setImmediate, SAME_SIGNAL_MS, () => { onSignal = endAtOnce })
    announce(hasFailed ? { err: reason.err } : { signal: signal ?? reason.signal })
    await stop()
    if (hasFailed) process.exit(1)      // even if there is nothing in `err`
  })

  function begin (name: NodeJS.Signals) {
    signal = name
    close()
  }

  function endAtOnce (name: NodeJS.Signals) {
    complain({}, `one more signal, ${name}: ending at once`)
    process.exit(1)
  }
}

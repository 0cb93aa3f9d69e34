import type { Signal } from '../plugins/deadline.ts'

/** Resolves when the signal is aborted. */
export const aborted = (signal: Signal) => new Promise<void>((resolve) => signal.addEventListener('abort', resolve))

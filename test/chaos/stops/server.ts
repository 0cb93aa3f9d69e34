import { performance } from 'node:perf_hooks'
import { settings } from '../../helper.ts'
import { start } from '../../processes.ts'
import type { Test } from 'tap'

export type Server = ReturnType<typeof start>

/** The service as a process, on this database. */
export function startServer (t: Test, databaseUrl: string, env: Record<string, string> = {}, nodeArgs: string[] = []) {
  return start(t, 'server.ts', [], { ...settings, LOG_LEVEL: 'info', PORT: '0', DATABASE_URL: databaseUrl, MIGRATE_ON_START: 'true', ...env }, nodeArgs)
}

/** What it comes to when it gets this signal, and how long that takes. */
export async function ending (server: Server, signal: NodeJS.Signals = 'SIGTERM') {
  const startedAt = performance.now()
  server.child.kill(signal)
  const { code, stdout, stderr } = await server.ended
  return { code, seconds: (performance.now() - startedAt) / 1000, complaints: [...stdout.split('\n').filter((line) => /"level":[56]0/.test(line)), ...stderr && [stderr]] }
}

export type Ending = Awaited<ReturnType<typeof ending>>

export const isInOrder = ({ code, seconds, complaints }: Ending) => code === 0 && seconds < 20 && complaints.length === 0

/** `1.2` or `1.2–3.4`. */
export function range (figures: number[], digits = 1) {
  const [least, most] = [Math.min(...figures), Math.max(...figures)].map((figure) => figure.toFixed(digits))
  return least === most ? least : `${least}–${most}`
}

export const count = (figure: number) => figure.toLocaleString('en').replaceAll(',', ' ')

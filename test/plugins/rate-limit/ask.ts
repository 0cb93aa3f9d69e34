import type { Decision, Log } from '../../../plugins/rate-limit/sliding-log.ts'

/** What a log decides, asked as @fastify/rate-limit asks it. */
export function ask (log: Log, method: 'incr' | 'read', key: string, windowMs: number, max: number) {
  return new Promise<Decision>((resolve) => log[method](key, (_, decision) => resolve(decision!), windowMs, max))
}

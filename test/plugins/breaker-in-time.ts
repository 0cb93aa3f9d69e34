import { mock } from 'node:test'
import { createBreaker } from '../../plugins/breaker.ts'
import type { Test } from 'tap'

type Options = Parameters<typeof createBreaker>[1]
type Breaker = ReturnType<typeof createBreaker>

export const VOLUME = 20
export const WINDOW_MS = 10_000
export const DECLINED = { code: 'SERVICE_UNAVAILABLE', statusCode: 503, reason: 'the breaker of store is open', headers: { 'retry-after': '1' } }

/** A breaker whose time goes on when it is told to, and all that it tells. */
export function start (t: Test, options: Options = {}) {
  mock.timers.reset()
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  const changes: string[] = []
  const breaker = createBreaker('store', { onChange: ({ name, from, to }) => changes.push(`${name}: ${from} → ${to}`), ...options })
  t.teardown(() => {
    breaker.shutdown()
    mock.timers.reset()
  })
  return { breaker, changes }
}

export const succeed = (breaker: Breaker) => breaker.run(async () => 'good')
export const failWith = (breaker: Breaker, error: unknown) => breaker.run(() => Promise.reject(error)).catch((error: unknown) => error)
export const fail = async (breaker: Breaker, times = 1) => { for (let i = 0; i < times; i++) await failWith(breaker, new Error('away')) }

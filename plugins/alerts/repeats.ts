import { keyOf, type Received } from './received.ts'

// Alertmanager repeats what goes on after hours, on purpose, but what was not answered with 200 again and again, a minute apart at most.
const QUIET_MS = 15 * 60_000
// 'firing' this soon after the end is an old message that came late; alert-store.ts has the same 45 s.
const LATE_MS = 45_000
const MOST_KNOWN = 10_000

/** Tells what is news from what was told a moment ago. Of what it knows the oldest goes when there is too much. */
export function createRepeats (now = () => performance.now()) {
  const told = new Map<string, { status: string, at: number }>()

  return function isNews (alert: Received) {
    const key = keyOf(alert)
    const last = told.get(key)
    if (last && now() - last.at < (last.status === alert.status ? QUIET_MS : alert.status === 'firing' ? LATE_MS : 0)) return false
    told.delete(key)
    told.set(key, { status: alert.status, at: now() })
    const [oldest] = told.keys()
    if (told.size > MOST_KNOWN) told.delete(oldest!)
    return true
  }
}

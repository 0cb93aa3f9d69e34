import type { FastifyInstance } from 'fastify'

const EVENTS = ['opened', 'refreshed', 'replayed', 'recovered', 'reuse_detected'] as const
type Event = typeof EVENTS[number] | 'revoked'

export type Count = (event: Event, reason?: string, times?: number) => void

/** Counts what happens to sessions; `reason` is that of the end of one, in our own words. */
export function createCount (metrics: FastifyInstance['metrics']): Count {
  const counter = metrics.counter({ name: 'microts_session_events_total', help: 'What happened to sessions; the reason is that of their end', labelNames: ['event', 'reason'] })
  // From 0: Prometheus sees no increase in a series that begins at 1.
  for (const event of EVENTS) counter.inc({ event, reason: '' }, 0)
  return (event, reason = '', times = 1) => counter.inc({ event, reason }, times)
}

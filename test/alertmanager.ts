import type { FastifyInstance } from 'fastify'
import type { Notified } from '../schemas/alerts.ts'

/** As Alertmanager has it for what has not ended. */
export const OPEN = '0001-01-01T00:00:00Z'
export const STARTED = '2026-11-22T12:00:00.123456789Z'

let alerts = 0

/** An alert as Prometheus raises it, of a name and fingerprint of its own. */
export function alert (more: Partial<Notified> = {}, labels: Record<string, string> = {}): Notified {
  const fingerprint = (0xa1e27000 + alerts++).toString(16).padStart(16, '0')
  return {
    status: 'firing',
    labels: { alertname: `Alert${alerts}`, severity: 'critical', instance: '10.0.0.1:3000', ...labels },
    annotations: { summary: 'One request in ten fails', description: 'Look at\nthe dashboard.' },
    startsAt: STARTED,
    endsAt: OPEN,
    generatorURL: 'http://prometheus:9090/graph?g0.expr=up',
    fingerprint,
    ...more
  }
}

/** What Alertmanager 0.27 sends of these alerts. */
export function notification (...alerts: object[]) {
  return {
    receiver: 'microts',
    status: 'firing',
    alerts,
    groupLabels: { alertname: 'HighErrorRate' },
    commonLabels: { severity: 'critical' },
    commonAnnotations: {},
    externalURL: 'http://alertmanager:9093',
    version: '4',
    groupKey: '{}:{alertname="HighErrorRate"}',
    truncatedAlerts: 0
  }
}

export const notify = (app: FastifyInstance, alerts: object[], headers: Record<string, string> = {}) =>
  app.inject({ method: 'POST', url: '/alerts/webhook', payload: notification(...alerts), headers })

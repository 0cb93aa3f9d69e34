import { hash } from 'node:crypto'
import type { Notified } from '../../schemas/alerts.ts'

export const STATUSES = ['firing', 'resolved'] as const
/** The severities that are counted by name. */
export const CLASSES = ['critical', 'warning', 'info', 'other'] as const

/** An alert as Alertmanager told of it, in our terms. What it says is foreign text: bounded, and but for the description in one line. */
export type Received = {
  fingerprint: string
  name: string
  status: typeof STATUSES[number]
  severity: string
  summary: string | null
  description: string | null
  /** Where it says what to do; forwarded, and not stored. */
  runbook: string | null
  labels: Record<string, string>
  startsAt: Date
  endsAt: Date | null
}

const NAME_LENGTH = 200
const SEVERITY_LENGTH = 40
const SUMMARY_LENGTH = 300
const DESCRIPTION_LENGTH = 4000
const LABEL_LENGTH = 300
const BREAKS = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]+/gu

export const severityClass = ({ severity }: Received) => CLASSES.find((known) => known === severity) ?? 'other'

/** The alerts of one notification, each fingerprint and start once: an end counts, else what is said last. */
export function receivedOf (notified: Notified[]): Received[] {
  const alerts = new Map<string, Received>()
  for (const alert of notified.map(toReceived)) {
    const known = alerts.get(keyOf(alert))
    if (known?.status !== 'resolved' || alert.status === 'resolved') alerts.set(keyOf(alert), alert)
  }
  return [...alerts.values()]
}

export const keyOf = ({ fingerprint, startsAt }: Pick<Received, 'fingerprint' | 'startsAt'>) => `${fingerprint} ${startsAt.getTime()}`

function toReceived ({ status, labels, annotations = {}, startsAt, endsAt, fingerprint = fingerprintOf(labels) }: Notified): Received {
  return {
    fingerprint,
    name: line(labels.alertname, NAME_LENGTH) ?? 'unnamed',
    status,
    severity: line(labels.severity, SEVERITY_LENGTH)?.toLowerCase() ?? 'none',
    summary: line(annotations.summary, SUMMARY_LENGTH),
    description: cut(annotations.description, DESCRIPTION_LENGTH),
    runbook: line(annotations.runbook_url, SUMMARY_LENGTH),
    labels: Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, cut(value, LABEL_LENGTH) ?? ''])),
    startsAt: new Date(startsAt),
    endsAt: status === 'resolved' && endsAt !== undefined ? new Date(endsAt) : null
  }
}

function fingerprintOf (labels: Record<string, string>) {
  return hash('sha256', JSON.stringify(Object.entries(labels).sort())).slice(0, 32)
}

const line = (text: string | undefined, longest: number) => cut(text?.replace(BREAKS, ' ').trim(), longest)

// Of a pair of surrogates that is cut through the first half would be left.
const cut = (text: string | undefined, longest: number) => text ? text.slice(0, longest).toWellFormed() : null

import { hostname } from 'node:os'
import fp from 'fastify-plugin'
import { CLASSES, receivedOf, severityClass, STATUSES, type Received } from './received.ts'
import { createRepeats } from './repeats.ts'
import { textOf } from './text.ts'
import { createWebhook, isOutage, RESULTS } from './webhook.ts'
import type { FastifyBaseLogger } from 'fastify'
import type { Notified } from '../../schemas/alerts.ts'

declare module 'fastify' {
  interface FastifyInstance { alerts: Alerts }
}

interface Alerts {
  /** Tells whoever is on duty, by ALERT_WEBHOOK_URL. Never throws and never waits. */
  raise: (alert: Alert) => void
  /** Logs, counts and forwards what Alertmanager tells of, and answers it in our terms; `truncated`: how many more it left out. Never throws and never waits. */
  receive: (alerts: Notified[], log: Pick<FastifyBaseLogger, Level>, truncated?: number) => Received[]
}

type Alert = { severity: 'critical' | 'warning' | 'resolved', summary: string }
type Level = 'error' | 'warn' | 'info'
export type { Received }

/** A webhook is asked seldom, and its failures are some seconds apart. */
const FAILURES_TO_OPEN = 4
const LEVELS = { critical: 'error', warning: 'warn', info: 'info', other: 'info' } as const

export default fp(async (app) => {
  const { ALERT_WEBHOOK_URL: url, OTEL_SERVICE_NAME: service } = app.config
  const received = app.metrics.counter({ name: 'microts_alerts_received_total', help: 'Alerts that Alertmanager told of, repeats included', labelNames: ['severity', 'status'] })
  const forwarded = app.metrics.counter({ name: 'microts_alerts_forwarded_total', help: 'Messages to ALERT_WEBHOOK_URL by what became of them', labelNames: ['result'] })
  for (const severity of CLASSES) for (const status of STATUSES) received.inc({ severity, status }, 0)
  for (const result of RESULTS) forwarded.inc({ result }, 0)
  const isNews = createRepeats()
  const webhook = url && createWebhook({
    url,
    breaker: app.breakers.create('webhook', { volume: FAILURES_TO_OPEN, isFailure: isOutage }),
    log: app.log,
    onResult: (result) => forwarded.inc({ result })
  })
  app.decorate('alerts', {
    raise ({ severity, summary }) {
      if (webhook) webhook.send(`[${severity}] ${service} on ${hostname()}: ${summary}`)
    },

    receive (notified, log, truncated = 0) {
      const alerts = receivedOf(notified)
      for (const alert of alerts) received.inc({ severity: severityClass(alert), status: alert.status })
      const news = alerts.filter(isNews)
      for (const alert of news) tell(alert, log)
      if (webhook && news.length > 0) webhook.send(textOf(news, truncated))
      return alerts
    }
  })
  if (webhook) app.addHook('onClose', () => webhook.close())

  app.breakers.onChange(({ name, from, to }) => {
    if (from === 'closed') app.alerts.raise({ severity: 'warning', summary: `the breaker of ${name} has opened` })
    if (to === 'closed') app.alerts.raise({ severity: 'resolved', summary: `the breaker of ${name} is closed again` })
  })

  let wasReady = true
  app.health.onChange(() => {
    if (app.health.isDraining) return
    const isReady = app.health.isReady()
    if (isReady === wasReady || !app.health.hasRisen()) return
    wasReady = isReady
    app.alerts.raise(isReady ? { severity: 'resolved', summary: 'ready again' } : { severity: 'critical', summary: `not ready: ${downs()}` })
  })

  function tell (alert: Received, log: Pick<FastifyBaseLogger, Level>) {
    const { status, name, severity, summary, fingerprint, startsAt } = alert
    const level = status === 'resolved' ? 'info' : LEVELS[severityClass(alert)]
    log[level]({ alert: { name, severity, summary, fingerprint, startsAt } }, `alert ${status}`)
  }

  function downs () {
    return Object.entries(app.health.report()).flatMap(([name, { status }]) => status === 'down' ? `${name} is down` : []).join(', ')
  }
}, { name: 'alerts', dependencies: ['breaker', 'config', 'health', 'metrics'] })

import fp from 'fastify-plugin'
import { createWebhook } from './webhook.ts'

declare module 'fastify' {
  interface FastifyInstance { alerts: Alerts }
}

interface Alerts {
  /** Tells whoever is on duty, by ALERT_WEBHOOK_URL. Never throws and never waits. */
  raise: (alert: Alert) => void
}

type Alert = { severity: 'critical' | 'warning' | 'resolved', summary: string }

/** A webhook is asked seldom, and its failures are some seconds apart. */
const FAILURES_TO_OPEN = 4

export default fp(async (app) => {
  const { ALERT_WEBHOOK_URL: url, OTEL_SERVICE_NAME: service } = app.config
  const webhook = url && createWebhook({ url, breaker: app.breakers.create('webhook', { volume: FAILURES_TO_OPEN }), log: app.log })
  app.decorate('alerts', {
    raise ({ severity, summary }) {
      if (webhook) webhook.send(`[${severity}] ${service}: ${summary}`)
    }
  })
  if (webhook) app.addHook('onClose', () => webhook.close())

  app.breakers.onChange(({ name, from, to }) => {
    if (from === 'closed') app.alerts.raise({ severity: 'warning', summary: `the breaker of ${name} has opened` })
    if (to === 'closed') app.alerts.raise({ severity: 'resolved', summary: `the breaker of ${name} is closed again` })
  })

  let wasReady = true
  app.health.onChange(() => {
    const isReady = app.health.isReady()
    if (isReady === wasReady || !app.health.hasRisen()) return
    wasReady = isReady
    app.alerts.raise(isReady ? { severity: 'resolved', summary: 'ready again' } : { severity: 'critical', summary: `not ready: ${downs()}` })
  })

  function downs () {
    return Object.entries(app.health.report()).flatMap(([name, { status }]) => status === 'down' ? `${name} is down` : []).join(', ')
  }
}, { name: 'alerts', dependencies: ['breaker', 'config', 'health'] })

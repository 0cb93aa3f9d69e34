import { HistoryQuerySchema, HistorySchema, NotificationSchema, ProcessedSchema } from '../schemas/alerts.ts'
import { answers } from '../schemas/common.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

// A group of alerts is larger than anything that users send.
const BODY_BYTES = 1_048_576

const alerts: FastifyPluginAsyncTypebox = async (app) => {
  app.guardOperators()

  app.post('/alerts/webhook', {
    bodyLimit: BODY_BYTES,
    config: { outlivesClient: true },
    schema: {
      operationId: 'receiveAlerts',
      tags: ['ops'],
      summary: 'Take alerts from Alertmanager',
      description: 'Logged, forwarded and stored, each by its fingerprint and start once. After a 503 all is forwarded and nothing stored: send it again.',
      body: NotificationSchema,
      response: answers({ 200: ProcessedSchema }, 'UNAUTHORIZED')
    }
  }, async ({ body, log }) => {
    // First, and whatever becomes of the rest: that PostgreSQL is away is told while it is.
    const received = app.alerts.receive(body.alerts, log, body.truncatedAlerts)
    const alerts = await app.alertStore.save(received)
    return { processed: alerts.length, alerts }
  })

  app.get('/alerts/history', {
    schema: {
      operationId: 'listAlerts',
      tags: ['ops'],
      summary: 'Which alerts there were',
      description: 'Kept for 30 days after they were last told of, 10 000 at most.',
      querystring: HistoryQuerySchema,
      response: answers({ 200: HistorySchema }, 'UNAUTHORIZED')
    }
  }, async ({ query }) => app.alertStore.history(Number(query.limit)))
}

export default alerts

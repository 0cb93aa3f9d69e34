import { Type, type Static } from '@sinclair/typebox'
import { Enum, IdSchema, Nullable, Text, TimeSchema } from './common.ts'

const StatusSchema = Enum(['firing', 'resolved'])
const DAY = '2026-11-22T12:00:00Z'

/** Names and texts, as Prometheus has them, so many and so long at most. */
const Texts = (longest: number, options: object = {}) => Type.Unsafe<Record<string, string>>({
  type: 'object',
  maxProperties: 64,
  propertyNames: { 'x-well-formed': true, maxLength: 200 },
  additionalProperties: { type: 'string', 'x-well-formed': true, maxLength: longest },
  ...options
})

// RFC 3339 to the second, in years that JavaScript, JSON and PostgreSQL write alike.
const InstantSchema = Type.String({
  format: 'date-time',
  maxLength: 40,
  pattern: '^(?!0000|9999)\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:[0-5]\\d(\\.\\d+)?(Z|[+-]\\d{2}:\\d{2})$',
  examples: [DAY]
})

// Of this body alone more is allowed than is known: each version of Alertmanager may add to it, and an alert must not be lost by an upgrade.
const OPEN = { additionalProperties: true }

const NotifiedSchema = Type.Object({
  status: StatusSchema,
  labels: Texts(4096, { examples: [{ alertname: 'HighErrorRate', severity: 'critical' }] }),
  annotations: Type.Optional(Texts(65_536, { description: '`summary` and `description` are kept', examples: [{ summary: 'One request in ten fails' }] })),
  startsAt: InstantSchema,
  endsAt: Type.Optional(Type.String({ ...InstantSchema, description: 'The year 1 while it is firing' })),
  generatorURL: Type.Optional(Type.String()),
  fingerprint: Type.Optional(Text({ minLength: 1, maxLength: 128, description: 'Made from the labels where it is missing', examples: ['c5bcb1e8d1a7b6f0'] }))
}, { title: 'Notified', ...OPEN })
export type Notified = Static<typeof NotifiedSchema>

export const NotificationSchema = Type.Object({
  version: Type.Literal('4'),
  groupKey: Type.Optional(Type.String()),
  truncatedAlerts: Type.Optional(Type.Integer({ minimum: 0 })),
  status: Type.Optional(StatusSchema),
  receiver: Type.Optional(Type.String()),
  groupLabels: Type.Optional(Type.Record(Type.String(), Type.String())),
  commonLabels: Type.Optional(Type.Record(Type.String(), Type.String())),
  commonAnnotations: Type.Optional(Type.Record(Type.String(), Type.String())),
  externalURL: Type.Optional(Type.String()),
  alerts: Type.Array(NotifiedSchema, { maxItems: 1000 })
}, {
  title: 'Notification',
  description: 'What Alertmanager sends to a webhook',
  examples: [{
    version: '4',
    status: 'firing',
    alerts: [{ status: 'firing', labels: { alertname: 'HighErrorRate', severity: 'critical' }, annotations: { summary: 'One request in ten fails' }, startsAt: DAY, endsAt: '0001-01-01T00:00:00Z', fingerprint: 'c5bcb1e8d1a7b6f0' }]
  }],
  ...OPEN
})

const NAME = Type.String({ description: 'Its `alertname`', examples: ['HighErrorRate'] })
const SEVERITY = Type.String({ description: 'Its `severity` in lower case, or `none`', examples: ['critical'] })

export const ProcessedSchema = Type.Object({
  processed: Type.Integer({ description: 'How many alerts, each counted once' }),
  alerts: Type.Array(Type.Object({ id: IdSchema, name: NAME, status: StatusSchema, severity: SEVERITY }, { title: 'Processed' }))
}, { title: 'Receipt', description: 'The alerts are stored' })

const AlertSchema = Type.Object({
  id: IdSchema,
  fingerprint: Type.String({ examples: ['c5bcb1e8d1a7b6f0'] }),
  name: NAME,
  status: StatusSchema,
  severity: SEVERITY,
  summary: Nullable({ examples: ['One request in ten fails'] }),
  description: Nullable({}),
  labels: Type.Record(Type.String(), Type.String()),
  startsAt: TimeSchema,
  endsAt: Type.Unsafe<string | null>({ type: ['string', 'null'], format: 'date-time', description: 'null while it is firing' }),
  receivedAt: Type.String({ format: 'date-time', description: 'When Alertmanager last told of it' })
}, { title: 'Alert' })

const COUNT = Type.Integer()
export const FiringSchema = Type.Integer({ description: 'Told of within 25 hours; those that were not count in total alone' })

export const HistorySchema = Type.Object({
  stats: Type.Object({
    total: COUNT,
    firing: FiringSchema,
    resolved: COUNT,
    bySeverity: Type.Object({ critical: COUNT, warning: COUNT, info: COUNT, other: COUNT })
  }, { description: 'Of all that is kept' }),
  alerts: Type.Array(AlertSchema)
}, { title: 'AlertHistory', description: 'The latest alerts, newest first' })

export const HistoryQuerySchema = Type.Object({
  limit: Type.Optional(Type.String({ pattern: '^([1-9]\\d?|100)$', default: '50', description: 'How many alerts, 1 to 100', examples: ['20'] }))
}, { additionalProperties: false })

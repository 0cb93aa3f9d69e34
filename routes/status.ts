import { Type } from '@sinclair/typebox'
import { answers } from '../schemas/common.ts'
import { StatusSchema, type Status } from '../schemas/ops.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const status: FastifyPluginAsyncTypebox = async (app) => {
  const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString()
  const absent = { database: { status: 'disabled' }, redis: { status: 'disabled' } } as const
  const links = { health: '/health', ready: '/ready', docs: '/docs', api: '/api' }

  app.get('/status', {
    schema: {
      operationId: 'getStatus',
      tags: ['ops'],
      summary: 'The service and what it depends on',
      description: 'What this instance does not use is reported as disabled. Browsers get a page for people.',
      response: answers({
        200: {
          description: 'The service and what it depends on',
          content: { 'application/json': { schema: StatusSchema }, 'text/html': { schema: Type.String({ description: 'The same as a page, with the traffic of the last minutes' }) } }
        }
      })
    }
  }, async (request, reply) => {
    if (reply.negotiate('application/json', 'text/html') === 'application/json') return statusNow()
    reply.headers(app.statusPage.headers)
    return app.statusPage.render({ status: statusNow(), traffic: app.traffic.report(), firing: app.alertStore.overview.firing, at: new Date() })
  })

  function statusNow (): Status {
    const seconds = Math.floor(process.uptime())
    const { database, redis } = { ...absent, ...app.health.report() }
    return {
      service: 'microts',
      version: app.release,
      status: app.health.state(),
      uptime: { seconds, formatted: formatted(seconds), startedAt },
      dependencies: {
        database: { ...database, breaker: app.breakers.stateOf('database') },
        redis: { ...redis, breaker: app.breakers.stateOf('redis') },
        webhook: webhook()
      },
      hashing: { build: app.passwords.build, concurrency: app.config.HASH_CONCURRENCY },
      alerts: app.alertStore.overview.counts,
      links
    }
  }

  // It is asked only when there is something to tell, so that its breaker is all that is known of it.
  function webhook () {
    const breaker = app.breakers.stateOf('webhook')
    return { breaker, status: breaker === 'closed' ? 'up' : breaker === 'disabled' ? breaker : 'degraded' } as const
  }
}

function formatted (seconds: number) {
  const parts = [[86_400, 'd'], [3600, 'h'], [60, 'm'], [1, 's']] as const
  let rest = seconds
  return parts.map(([size, unit]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return `${count}${unit}`
  }).join(' ')
}

export default status

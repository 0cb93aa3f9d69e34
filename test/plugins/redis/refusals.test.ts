import { t as file } from 'tap'
import { build } from '../../helper.ts'
import { createLog } from '../../log.ts'
import { startCluster, startRedis } from '../../redis.ts'

const AT_ONCE = { buffered: true }
file.jobs = 3

file.test('why Redis cannot be used is told with its check, and no password with it', AT_ONCE, async (t) => {
  const redis = await startRedis(t, ['--requirepass', 'canary-right'])
  const log = createLog()
  await build(t, { LOG_LEVEL: 'trace', REDIS_URL: `redis://:canary-wrong@127.0.0.1:${redis.port}` }, { stream: log })

  t.match(await log.line('check is down', { check: 'redis' }), { err: { cause: { message: /^WRONGPASS / } } })
  t.notMatch(log.written.join(), 'canary')
})

file.test('a cluster too', AT_ONCE, async (t) => {
  const cluster = await startCluster(t)
  await Promise.all(cluster.nodes.map(({ admin }) => admin.config('SET', 'requirepass', 'canary-right')))
  const log = createLog()
  await build(t, { LOG_LEVEL: 'trace', REDIS_CLUSTER_NODES: `redis://:canary-wrong@${cluster.urls[0]}` }, { stream: log })

  t.match(await log.line('check is down', { check: 'redis' }), { err: { cause: { message: /^WRONGPASS / } } })
  t.notMatch(log.written.join(), 'canary')
})

file.test('a database that the server does not have is not taken for the first one', AT_ONCE, async (t) => {
  const redis = await startRedis(t)
  const log = createLog()
  const app = await build(t, { LOG_LEVEL: 'info', REDIS_URL: `${redis.url}/99` }, { stream: log })

  t.match(await log.line('check is down', { check: 'redis' }), { err: { cause: { message: 'ERR DB index is out of range' } } })
  await t.rejects(app.fastPath!.run((redis) => redis.set('key', 'value')))
  t.same(await redis.admin.keys('*'), [])
})

import { Redis } from 'ioredis'
import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build } from '../../helper.ts'
import { startProxy } from '../../proxy.ts'
import { startCluster, startRedis } from '../../redis.ts'
import type { FastifyInstance } from 'fastify'

const PATIENT = { REDIS_COMMAND_TIMEOUT: '5000' }
const SOON_MS = 4000
const isUp = (app: FastifyInstance) => app.health.report().redis?.status === 'up'
const isWritable = (app: FastifyInstance) => app.fastPath!.run((redis) => redis.set('key', 'value')).then(() => true, () => false)

test('a cluster that comes back elsewhere is found by the nodes that were named, without a restart of ours', async (t) => {
  const [first, second] = await Promise.all([startCluster(t), startCluster(t)])
  const way = await startProxy(t, `redis://${second.urls[0]}`, 'refuse')
  const app = await build(t, { ...PATIENT, REDIS_CLUSTER_NODES: [...first.urls, `127.0.0.1:${way.port}`].join() })
  await eventually(() => isWritable(app))
  await Promise.all(first.nodes.map(({ kill }) => kill()))
  await way.set('pass')
  t.comment(`writable again after ${await eventually(() => isWritable(app))} ms`)
  t.equal((await second.keys()).filter((key) => key === 'key').length, 1)
})

test('closing while the nodes of a cluster are asked for their slots leaves nothing behind', async (t) => {
  const cluster = await startCluster(t)
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const app = await build(t, { REDIS_CLUSTER_NODES: cluster.urls.join() })
  await eventually(() => isUp(app))
  for (const { pid } of cluster.nodes) process.kill(pid, 'SIGSTOP')
  await eventually(() => !isUp(app))
  await app.close()
  for (const { pid } of cluster.nodes) process.kill(pid, 'SIGCONT')
  await eventually(() => timers() <= before)
})

test('a Redis that reads its data first is used soon after, however long it thought that would take', async (t) => {
  const redis = await startRedis(t, ['--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024'])
  const app = await build(t, { ...PATIENT, REDIS_URL: redis.url })
  await redis.admin.eval("for i = 1, 20000 do redis.call('set', i, i) end", 0)
  await redis.admin.save()
  const restarted = redis.restart()
  const side = new Redis({ port: redis.port, enableReadyCheck: false, retryStrategy: () => 20 })
  t.teardown(() => side.disconnect())
  side.on('error', () => {})
  await eventually(async () => (await side.client('LIST') as string).includes('name=microts'))
  await side.config('SET', 'key-load-delay', '0')
  await restarted
  t.comment(`writable ${await eventually(() => isWritable(app), SOON_MS)} ms after it has`)
})

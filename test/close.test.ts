import { test, type Test } from 'tap'
import { build as buildApp } from '../app.ts'
import { loadConfig } from '../plugins/config/index.ts'
import { eventually } from './eventually.ts'
import { databaseUrl, settings } from './helper.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { connected, startCluster, startRedis } from './redis.ts'
import type { Socket } from 'node:net'

const WITHIN_MS = 1900

const troubles: Record<string, (way: Proxy) => Promise<void> | void> = {
  'is well': () => {},
  'is away': (way) => way.set('refuse'),
  'is silent': (way) => way.set('swallow'),
  'is slow': (way) => way.set('delay', 50),
  resets: (way) => way.set('reset'),
  'is gone without a word': (way) => way.forget()
}

for (const [what, befall] of Object.entries(troubles)) {
  test(`closing ends soon and leaves nothing behind where PostgreSQL ${what}`, async (t) => {
    const way = await startProxy(t, databaseUrl)
    await closes(t, { DATABASE_URL: way.url }, [way.port], () => befall(way))
  })

  test(`closing ends soon and leaves nothing behind where Redis ${what}`, async (t) => {
    const redis = await startRedis(t)
    const way = await startProxy(t, redis.url)
    await closes(t, { REDIS_URL: way.url }, [way.port], () => befall(way))
  })
}

test('closing ends soon and leaves nothing behind where a cluster is well, is silent or has gone', async (t) => {
  const { nodes, urls } = await startCluster(t)
  const ports = nodes.map(({ port }) => port)
  const all = (use: (node: typeof nodes[number]) => unknown) => Promise.all(nodes.map(use))
  const env = { REDIS_CLUSTER_NODES: urls.join() }
  await all(({ admin }) => admin.disconnect())
  await closes(t, env, ports, () => {})
  await closes(t, env, ports, () => all(({ pid }) => process.kill(pid, 'SIGSTOP')))
  await all(({ pid }) => process.kill(pid, 'SIGCONT'))
  await closes(t, env, ports, () => all(({ kill }) => kill()))
})

/** The app is closed when this has befallen it, with a database connection in use until then. */
async function closes (t: Test, env: Record<string, string>, ports: number[], befall: () => unknown) {
  const before = timers()
  const app = await buildApp(loadConfig({ ...settings, DB_QUERY_TIMEOUT: '500', ...env }))
  app.fastPath?.listen('news', () => {})
  await app.ready()
  await app.health.risen
  if (app.fastPath) await connected(app)
  const client = await app.pg.pool.connect()
  await befall()
  let isClosed = false
  app.close().then(() => { isClosed = true })
  client.release()
  t.comment(`closed after ${await eventually(() => isClosed && connections(ports) === 0 && timers() <= before, WITHIN_MS)} ms`)
}

const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length

type Handles = { _getActiveHandles: () => Socket[] }      // nothing that is documented tells where they lead to
const connections = (ports: number[]) => (process as unknown as Handles)._getActiveHandles().filter(({ remotePort }) => ports.includes(remotePort!)).length

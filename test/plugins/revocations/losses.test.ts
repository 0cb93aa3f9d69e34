import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { test, type Test } from 'tap'
import { gather } from '../../../plugins/gather.ts'
import { createScripts } from '../../../plugins/redis/scripts.ts'
import { createMarkers } from '../../../plugins/revocations/markers.ts'
import { createRevocations, KEEP_SECONDS } from '../../../plugins/revocations/memory.ts'
import { within } from '../../../plugins/within.ts'
import { startRedis } from '../../redis.ts'
import type { FastPath } from '../../../plugins/redis/index.ts'

const { promise: never } = Promise.withResolvers<string[]>()

test('who writes all again asks anew first, since somebody may have revoked a session and seen its marker lost', async (t) => {
  const { redis, table, speak } = await start(t)
  const [a, c] = [speak(), speak()]
  await c.restore()
  await a.revocations.refresh()
  const ended = randomUUID()
  table.push(ended)
  await a.markers.publish([ended])
  t.equal(await c.markers.has(ended), true)
  await redis.admin.flushall()
  await t.rejects(c.markers.has(ended))
  t.equal(await c.restore(), 16)

  t.equal(await c.markers.has(ended), true)
  t.equal(await c.markers.has(randomUUID()), false)
  t.equal(await a.restore(), 0, 'nothing is left to do')
})

test('of two that write all again the first to be ready has done it for both', async (t) => {
  const { table, speak } = await start(t)
  const [a, c] = [speak(), speak()]
  table.push(randomUUID())
  const { promise: all, resolve: go } = Promise.withResolvers<string[]>()
  const slow = a.markers.restore(() => all)
  await c.markers.restore(async () => { throw new Error('PostgreSQL is away again') }).catch(() => {})
  c.markers.restore(() => never)
  await t.rejects(c.markers.has(randomUUID()))
  go(table)
  await slow

  t.equal(await c.markers.has(randomUUID()), false)
  t.equal(await c.markers.has(table[0]!), true)
})

test('what Redis loses while all is written again is not taken for there', async (t) => {
  const { redis, table, speak } = await start(t)
  const a = speak()
  await a.markers.restore(async () => {
    await redis.admin.flushall()
    return table
  })
  await t.rejects(a.markers.has(randomUUID()))
  await a.restore()

  t.equal(await a.markers.has(randomUUID()), false)
})

test('what is forgotten before Redis is back is not written', async (t) => {
  const { redis, speak } = await start(t)
  const { markers } = speak()
  const [old, young] = [randomUUID(), randomUUID()]
  markers.note([old, young])
  markers.forget(old)
  await markers.write()
  t.match(await redis.admin.keys('*'), [young])
})

test('one that is full takes who is revoked, or somebody would be let in by what is not there', async (t) => {
  const { redis, speak } = await start(t)
  const a = speak()
  await redis.admin.config('SET', 'maxmemory', '1')
  t.teardown(() => redis.admin.config('SET', 'maxmemory', '0'))
  await a.restore()
  t.equal(await a.markers.has(randomUUID()), false)
  const id = randomUUID()
  a.markers.note([id])
  await a.markers.write()
  t.equal(await a.markers.has(id), true)
})

test('a server that was not the master for a while may lack what was written then', async (t) => {
  const { redis, speak } = await start(t)
  const a = speak()
  await a.restore()
  t.equal(await a.markers.has(randomUUID()), false)
  await redis.admin.replicaof('127.0.0.1', 1)
  await t.rejects(a.markers.has(randomUUID()), 'nor has it what is revoked from now on')
  await redis.admin.replicaof('NO', 'ONE')

  await t.rejects(a.markers.has(randomUUID()))
  await a.restore()
  t.equal(await a.markers.has(randomUUID()), false)
})

/** A table of revoked sessions, and replicas that know it and write to one Redis when they are told to. */
async function start (t: Test) {
  const redis = await startRedis(t)
  const table: string[] = []
  return { redis, table, speak: () => replica(t, redis.port, table) }
}

function replica (t: Test, port: number, table: string[]) {
  const client = new Redis({ port })
  t.teardown(() => client.disconnect())
  const fastPath: FastPath = {
    run: (use) => use(client),
    tell: async () => true,
    script: createScripts({ client, run: (use) => use(), gather }),
    listen: () => {}
  }
  const markers = createMarkers(fastPath, KEEP_SECONDS)
  const revocations = createRevocations({ read: async () => [...table], markers, within })
  return { markers, revocations, restore: () => markers.restore(revocations.readAll) }
}

import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { test, type Test } from 'tap'
import { batchWrites } from '../../../plugins/redis/batches.ts'
import { createClient } from '../../../plugins/redis/client.ts'
import { startRedis } from '../../redis.ts'
import type { Redis } from 'ioredis'

const COMMANDS = 50

test('commands of one turn leave together, those of the next one after them', async (t) => {
  const redis = await startRedis(t)
  const pieces: string[] = []
  const port = await between(t, redis.port, (piece) => pieces.push(piece))
  const node = createClient({ REDIS_URL: `redis://127.0.0.1:${port}`, REDIS_CLUSTER_NODES: [] }) as Redis
  batchWrites(node)
  await node.connect()
  t.teardown(() => node.disconnect())

  for (let turn = 0; turn < 3; turn++) {
    pieces.length = 0
    const answers = await Promise.all(Array.from({ length: COMMANDS }, (_, i) => node.set(`a:${turn}`, i)))
    t.same(answers, Array(COMMANDS).fill('OK'))
    t.equal(pieces.filter((piece) => piece.includes(`a:${turn}`)).length, 1)
    t.equal(await redis.admin.get(`a:${turn}`), String(COMMANDS - 1), 'in their order')
  }
})

/** Hears what is sent to a server, piece by piece. */
async function between (t: Test, target: number, onPiece: (piece: string) => void) {
  const server = createServer((socket) => {
    const upstream = connect(target)
    socket.on('data', (piece) => onPiece(piece.toString()))
    socket.on('error', () => {}).pipe(upstream).on('error', () => {}).pipe(socket)
    t.teardown(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

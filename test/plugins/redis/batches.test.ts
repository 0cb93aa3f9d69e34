import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { test, type Test } from 'tap'
import { build } from '../../helper.ts'
import { connected, startRedis } from '../../redis.ts'

const COMMANDS = 50

test('commands of one turn leave together, those of the next one after them', async (t) => {
  const redis = await startRedis(t)
  const pieces: string[] = []
  const port = await between(t, redis.port, (piece) => pieces.push(piece))
  const app = await build(t, { REDIS_URL: `redis://127.0.0.1:${port}` })
  await connected(app)

  for (let turn = 0; turn < 3; turn++) {
    pieces.length = 0
    const answers = await Promise.all(Array.from({ length: COMMANDS }, (_, i) => app.fastPath!.run((redis) => redis.set(`a:${turn}`, i))))
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

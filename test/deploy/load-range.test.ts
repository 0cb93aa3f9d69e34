import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { createRange } from '../../deploy/load/range.ts'
import { newAccount } from '../../deploy/load/service.ts'
import { createVirtualUser } from '../../deploy/load/virtual-user.ts'
import type { Test } from 'tap'
import type { Stage } from '../../deploy/load/mix.ts'
import type { AddressInfo, Socket } from 'node:net'

type Taken = { action: string, status: number, ms: number }

/** What a stage of one user comes to, who asks for /me whenever it has the choice. */
async function fire (t: Test, stage: Stage, listener: (request: IncomingMessage, response: ServerResponse, server: Server) => void) {
  t.intercept(Math, 'random', { value: () => 0 })
  const server = createServer((request, response) => listener(request, response, server))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close().closeAllConnections())

  const taken: Taken[] = []
  const tally = { limit: undefined, sent: () => {}, take: (action: string, { status, ms }: Omit<Taken, 'action'>) => { taken.push({ action, status, ms }) } }
  const user = createVirtualUser(newAccount(), newAccount)
  user.adopt({ accessToken: 'access', refreshToken: 'refresh', expiresAt: Infinity })
  await createRange(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, tally, new AbortController().signal).fire(stage, [user])
  return taken
}

for (const [how, lose] of [
  ['reset', (socket: Socket) => socket.resetAndDestroy()],
  ['ended', (socket: Socket) => socket.end()]
] as const) {
  test(`a request whose connection is ${how} has no answer, and the next is timed by itself`, async (t) => {
    let count = 0
    const taken = await fire(t, { seconds: 4, users: 1, flood: 0 }, ({ socket }, response) => count++ % 2 ? lose(socket) : response.end())
    t.match(taken, [{ action: 'health', status: 200 }, { action: 'me', status: 0 }, { action: 'me', status: 200 }, { action: 'me', status: 0 }])
    t.ok(taken[2]!.ms < 500, `${taken[2]!.ms} ms`)
  })
}

test('who finds no connection any more has no answer', async (t) => {
  const startedAt = performance.now()
  const taken = await fire(t, { seconds: 5, users: 1, flood: 0 }, ({ socket }, response, server) => {
    response.end()
    setTimeout(() => {
      server.close()
      socket.destroy()
    }, 100)
  })
  t.match(taken, [{ action: 'health', status: 200 }, { action: 'me', status: 0 }])
  t.equal(taken.length, 2)
  t.ok(performance.now() - startedAt < 4000, 'nor tries for ever')
})

test('a handshake is not judged, and a flood ends with its stage', async (t) => {
  const startedAt = performance.now()
  const taken = await fire(t, { seconds: 2, users: 0, flood: 1 }, ({ url }, response) => {
    if (url === '/health') response.end()
  })
  t.match(taken, [{ action: 'health', status: 200 }])
  t.equal(taken.length, 1, 'nobody knows what the answer to the login would have been')
  t.ok(performance.now() - startedAt < 10_000, 'it waits for no answer')
})

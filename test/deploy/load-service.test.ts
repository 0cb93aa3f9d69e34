import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'tap'
import { createService, newAccount } from '../../deploy/load/service.ts'
import type { AddressInfo } from 'node:net'

test('what is refused is tried again only where the service says when, and that is soon', async (t) => {
  let retryAfter: string | undefined
  let requests = 0
  const server = createServer((_, response) => {
    requests++
    response.writeHead(503, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const { remove } = createService(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const account = newAccount()
  const table: [string | undefined, number][] = [[undefined, 1], ['Fri, 01 Jan 2038 00:00:00 GMT', 1], ['61', 1], ['0', 10]]
  for (const [told, times] of table) {
    retryAfter = told
    requests = 0
    t.same(await remove([account]), [account])
    t.equal(requests, times, `Retry-After: ${told}`)
  }
})

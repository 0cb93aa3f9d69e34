import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'tap'
import { settings } from '../helper.ts'
import { listening, run, start } from '../processes.ts'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

const HEALTHCHECK = 'deploy/healthcheck.ts'
// Of loopback, where nobody listens.
const NOWHERE = '127.9.9.9'

test('a service that answers is healthy, on the port and the address that it was told', async (t) => {
  const { port } = new URL(await listening(start(t, 'server.ts', [], { ...settings, LOG_LEVEL: 'info', PORT: '0' })))
  for (const host of [undefined, '', '0.0.0.0', '::', '127.0.0.1']) {
    t.match(await run(t, HEALTHCHECK, [], { HOST: host, PORT: port }), { code: 0, stdout: '/health answers 200\n', stderr: '' })
  }
  t.match(await run(t, HEALTHCHECK, [], { HOST: ' 0.0.0.0', PORT: ` ${port} ` }), { code: 0 }, 'as the service reads them')
})

test('one that answers something else, or not at all, is not', async (t) => {
  const failing = await answer(t, 503)
  t.match(await run(t, HEALTHCHECK, [], { PORT: failing }), { code: 1, stdout: '/health answers 503\n' })
  t.match(await run(t, HEALTHCHECK, [], { PORT: '9' }), { code: 1, stdout: '/health on port 9 does not answer: ECONNREFUSED\n', stderr: '' })
  t.match(await run(t, HEALTHCHECK, [], { HOST: NOWHERE, PORT: ' ' }), { code: 1, stdout: /^\/health on port 3000 does not answer: / }, 'a blank is the port that the service takes then')
  t.match(await run(t, HEALTHCHECK, [], { PORT: await answer(t) }), { code: 1, stdout: /^\/health on port \d+ does not answer: ABORT_ERR\n$/, stderr: '' })
})

/** A server that answers this to everything, or nothing. */
async function answer (t: Test, status?: number) {
  const server = createServer((_, response) => status && response.writeHead(status).end())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close().closeAllConnections())
  return String((server.address() as AddressInfo).port)
}

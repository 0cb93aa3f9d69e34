import dns from 'node:dns'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { createService, newAccount } from '../../deploy/load/service.ts'
import { eventually } from '../eventually.ts'
import { freePort } from '../port.ts'
import type { Test } from 'tap'
import type { VirtualUser } from '../../deploy/load/virtual-user.ts'
import type { AddressInfo } from 'node:net'

const { signal: never } = new AbortController()

async function serve (t: Test, listener: RequestListener) {
  const server = createServer(listener)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close().closeAllConnections())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('what is refused is tried again only where the service says when, and not for ever', async (t) => {
  let retryAfter: string | undefined
  let requests = 0
  const url = await serve(t, (_, response) => {
    requests++
    response.writeHead(503, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end()
  })
  const { remove } = createService(url, never)
  const account = newAccount()
  for (const [told, times] of [[undefined, 1], ['61', 1], ['0', 10]] as const) {
    retryAfter = told
    requests = 0
    t.same(await remove([account]), [account])
    t.equal(requests, times, `Retry-After: ${told}`)
  }
})

test('what is interrupted waits no longer', async (t) => {
  let requests = 0
  const url = await serve(t, (_, response) => {
    requests++
    response.writeHead(503, { 'retry-after': '60' }).end()
  })
  const interrupted = new AbortController()
  const made: VirtualUser[] = []
  const making = createService(url, never).makeUsers(20, made, interrupted.signal)
  await eventually(() => requests === 8)
  const at = performance.now()
  interrupted.abort()
  await making
  t.ok(performance.now() - at < 10_000, 'the service says 60 s')
  t.equal(made.length, 8, 'those may have been made')
  t.equal(requests, 8)
})

test('what is abandoned waits for no answer either, and is left', async (t) => {
  let requests = 0
  const url = await serve(t, () => { requests++ })
  const abandoned = new AbortController()
  const accounts = Array.from({ length: 20 }, newAccount)
  const removing = createService(url, abandoned.signal).remove(accounts)
  await eventually(() => requests === 8)
  const at = performance.now()
  abandoned.abort()
  t.same(new Set(await removing), new Set(accounts))
  t.ok(performance.now() - at < 5000, 'an answer has 15 s')
  t.equal(requests, 8)
})

test('a wrong address is told of in a sentence', async (t) => {
  const look = async (url: string) => createService(url, never).look()
  const page = await serve(t, (_, response) => response.end('<!doctype html>'))
  await t.rejects(look(page), { message: `${page} is not microts` })
  const redirect = await serve(t, ({ url }, response) => response.writeHead(308, { location: page + url }).end())
  await t.rejects(look(redirect), { message: `${redirect} is not ready: 308` })
  const abrupt = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{', () => response.destroy())
  })
  await t.rejects(look(abrupt), { message: `${abrupt} cannot be reached: other side closed` })

  const addresses = [{ address: '::1', family: 6 }, { address: '127.0.0.1', family: 4 }]
  t.intercept(dns, 'lookup', { value: (_: string, __: object, found: (error: null, found: object[]) => void) => found(null, addresses) })
  await t.rejects(look(`http://localhost:${await freePort()}`), { message: /cannot be reached: E[A-Z]+$/ })
})

import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { build, post } from '../../helper.ts'
import type { FastifyInstance } from 'fastify'

const LIMIT = { RATE_LIMIT_MAX: '2' }

const from = async (app: FastifyInstance, remoteAddress: string, forwardedFor?: string) => {
  const headers = forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor }
  return (await app.inject({ url: '/api', remoteAddress, headers })).statusCode
}

test('100 forged X-Forwarded-For of a peer nobody trusts add no budget', async (t) => {
  for (const TRUSTED_PROXIES of [undefined, '10.0.0.0/8,192.0.2.1/32']) {
    const app = await build(t, { ...LIMIT, TRUSTED_PROXIES })
    const statuses = []
    for (let i = 0; i < 100; i++) statuses.push(await from(app, '203.0.113.9', `198.51.100.${i}, 10.0.0.1`))
    t.same(statuses, [200, 200, ...Array(98).fill(429)])
    for (const header of ['forwarded', 'x-real-ip', 'x-client-ip', 'cf-connecting-ip', 'true-client-ip']) {
      const response = await app.inject({ url: '/api', remoteAddress: '203.0.113.9', headers: { [header]: 'for=198.51.100.1' } })
      t.equal(response.statusCode, 429, header)
    }
  }
})

test('through trusted proxies the client is the key: the last address that none of them vouches for', async (t) => {
  const app = await build(t, { ...LIMIT, TRUSTED_PROXIES: '10.0.0.0/8,fd00::/8' })

  t.same([await from(app, '10.0.0.1', '198.51.100.1'), await from(app, '10.0.0.2', '198.51.100.1')], [200, 200])
  t.equal(await from(app, '10.0.0.3', '198.51.100.1'), 429, 'the same client by another proxy')
  t.equal(await from(app, 'fd00::1', '198.51.100.1'), 429)
  t.equal(await from(app, '::ffff:10.0.0.4', '198.51.100.1'), 429, 'as a socket of IPv6 has it')
  t.equal(await from(app, '10.0.0.1', '192.0.2.77, 198.51.100.1'), 429, 'what the client itself wrote comes first')
  t.equal(await from(app, '10.0.0.1', '192.0.2.78, 198.51.100.1, 10.9.9.9'), 429, 'over two proxies')
  t.equal(await from(app, '10.0.0.1', '198.51.100.2'), 200, 'another client by the same proxy')
  t.equal(await from(app, '10.0.0.1'), 200, 'the proxy itself')
})

test('one network of IPv6 is one client, and an IPv4 address is the same in both its forms', async (t) => {
  const cases: [same: string[], other: string][] = [
    [['2001:db8:0:1::1', '2001:db8:0:1:ffff:ffff:ffff:ffff', '2001:DB8:0:1:0:0:0:2'], '2001:db8:0:2::1'],
    [['203.0.113.5', '::ffff:203.0.113.5', '::FFFF:cb00:7105'], '::ffff:203.0.113.6'],
    [['fe80::1%eth0', 'fe80::2%eth1', 'fe80::3'], 'fe80:0:0:1::1']
  ]
  for (const [same, other] of cases) {
    const app = await build(t, LIMIT)
    const statuses = []
    for (const address of same) statuses.push(await from(app, address))
    t.same(statuses, [200, 200, 429], same.join())
    t.equal(await from(app, other), 200, other)
  }
})

test('the login limit tells addresses apart in the same way', async (t) => {
  const app = await build(t, { RATE_LIMIT_LOGIN_MAX: '2' })
  const logIn = async (remoteAddress: string) =>
    (await app.inject({ method: 'POST', url: '/auth/login', remoteAddress, payload: { email: 'nobody@example.com', password: 'wrong' } })).statusCode
  t.same([await logIn('2001:db8::1'), await logIn('2001:db8::2'), await logIn('2001:db8::3'), await logIn('2001:db8:0:1::1')], [401, 401, 429, 401])
})

test('a port beside the address opens no new bucket, and names that are no address share one', async (t) => {
  const app = await build(t, { ...LIMIT, TRUSTED_PROXIES: '10.0.0.0/8' })
  const through = async (...names: string[]) => {
    const statuses = []
    for (const name of names) statuses.push(await from(app, '10.0.0.1', name))
    return statuses
  }
  t.same(await through('203.0.113.7', '203.0.113.7:80', '203.0.113.7:81'), [200, 200, 429])
  t.same(await through('2001:db8::1', '[2001:db8::2]', '[2001:db8::3]:443'), [200, 200, 429])
  t.same(await through('unknown', '_hidden', '{address:203.0.113.8}|1', '', '203.0.113.8'), [200, 200, 429, 200, 200], 'but for nothing, which is the proxy itself')
})

test('who has no address shares one bucket, in contrast to having none', async (t) => {
  const app = await build(t, LIMIT)
  const path = join(tmpdir(), `microts-${process.pid}.sock`)
  t.teardown(() => rmSync(path, { force: true }))
  await app.listen({ path })
  const overSocket = async () => {
    const [response] = await once(request({ socketPath: path, path: '/api', headers: { host: 'localhost' } }).end(), 'response')
    await text(response)
    return response.statusCode
  }
  t.same([await overSocket(), await overSocket(), await overSocket()], [200, 200, 429])
  t.equal(await from(app, '203.0.113.1'), 200)
})

test('addresses that were never seen before share what an account has left', async (t) => {
  const app = await build(t, { RATE_LIMIT_ACCOUNT_MAX: '3', TRUSTED_PROXIES: '127.0.0.1/32' })
  const statuses = []
  for (let i = 0; i < 5; i++) {
    const response = await post(app, '/auth/login', { email: 'nobody@example.com', password: 'wrong' }, { 'x-forwarded-for': `198.51.100.${i}` })
    statuses.push(response.statusCode)
  }
  t.same(statuses, [401, 401, 401, 429, 429])
})

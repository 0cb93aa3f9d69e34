import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { request as requestPlain } from 'node:http'
import { request } from 'node:https'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { test } from 'tap'
import { EnvSchema } from '../../../plugins/config/schema.ts'
import { startLoad } from '../../chaos/stops/load.ts'
import { ending, startServer } from '../../chaos/stops/server.ts'
import { eventually } from '../../eventually.ts'
import { bearer, build, databaseUrl, PASSWORD, signUp } from '../../helper.ts'
import { freePort, freePorts } from '../../port.ts'
import { ready } from '../../processes.ts'
import { isProblem } from '../../problem.ts'
import { createHttp1Client, createHttp2Client } from './clients.ts'
import { PATIENCE } from './colour.ts'
import { NAME, startNginx, type Nginx } from './nginx.ts'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'

type Question = { method?: string, path?: string, headers?: Record<string, string>, body?: object | string, from?: string, isPlain?: boolean }

const BEHIND_NGINX = { TRUSTED_PROXIES: '127.0.0.1/32' }
const ADDRESSES = ['127.0.0.1', '127.0.0.2']
const SPOOFS = ['x-forwarded-for', 'forwarded', 'x-real-ip', 'x-forwarded-host', 'x-client-ip', 'true-client-ip', 'cf-connecting-ip']
const KILOBYTE = 'x'.repeat(1024)
// Which asks the replicas in their order.
const ORIGIN = 'https://app.example'
const slowerWith = (origin: string) => (config: string) => config.replace('proxy_read_timeout 15s', 'proxy_read_timeout 1s').replace('$cors_origin {', `$cors_origin { "${origin}" $http_origin;`)
const withOneWorker = (config: string) => config.replace('worker_processes auto', 'worker_processes 1')

test('TLS 1.2 and 1.3 are spoken, with HTTP/2 for who knows it; TLS 1.1 is refused', async (t) => {
  const { nginx } = await serve(t)
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const socket = await shakeHands(nginx, { minVersion: version, maxVersion: version, ALPNProtocols: ['h2', 'http/1.1'] })
    t.equal(socket.getProtocol(), version)
    t.equal(socket.alpnProtocol, 'h2')
    t.match(socket.getCipher().name, /GCM|CHACHA20/)
    socket.destroy()
  }
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  await t.rejects(shakeHands(nginx, old), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' }, 'by the server')

  const { status, body } = await createHttp2Client(t, nginx).ask(nginx.origin, { path: '/api' })
  t.match({ status, body }, { status: 200, body: { name: 'microts' } })
  t.match((await nginx.lines()).at(-1), { path: '/api', protocol: 'HTTP/2.0', status: '200' })
})

test('plain HTTP is sent to HTTPS, but for what an authority looks for', async (t) => {
  const { nginx } = await serve(t)
  const redirected = await ask(nginx, { method: 'POST', path: '/auth/login?next=%2Fme', isPlain: true, headers: { host: 'elsewhere.example.org' } })
  t.hasStrict(redirected, { statusCode: 308, headers: { location: `https://${NAME}/auth/login?next=%2Fme` } })
  const folder = join(nginx.folder, 'acme/.well-known/acme-challenge')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'token'), 'proof')
  t.match(await ask(nginx, { path: '/.well-known/acme-challenge/token', isPlain: true }), { statusCode: 200, body: 'proof' })
  const other = await ask(nginx, { path: '/.well-known/acme-challenge/other', isPlain: true })
  t.match({ statusCode: other.statusCode, body: JSON.parse(other.body) }, { statusCode: 404, body: { code: 'NOT_FOUND' } })
  for (const answer of [redirected, other]) t.same(valuesOf(answer, 'strict-transport-security'), [], 'of which plain HTTP says nothing (RFC 6797 section 7.2)')
})

test('each answer says once that HTTPS is the only way, and none the version of nginx', async (t) => {
  const { nginx } = await serve(t)
  for (const [path, statusCode] of [['/api', 200], ['/nowhere', 404], ['/metrics', 404]] as const) {
    const answer = await ask(nginx, { path })
    t.equal(answer.statusCode, statusCode)
    t.same(valuesOf(answer, 'strict-transport-security'), ['max-age=63072000; includeSubDomains'], path)
    t.same(valuesOf(answer, 'server'), ['nginx'], path)
  }
})

test('what a client says of its address adds no budget: limits count who connects', async (t) => {
  const { nginx } = await serve(t, { RATE_LIMIT_MAX: '3' })
  for (const from of ADDRESSES) {
    const statuses = []
    for (let i = 0; i < 3; i++) statuses.push((await ask(nginx, { path: '/api', from })).statusCode)
    t.same(statuses, [200, 200, 200], `${from} has a budget of its own`)
    for (const header of SPOOFS) {
      for (const value of ['198.51.100.7', 'for=198.51.100.7', '127.0.0.9, 127.0.0.1']) {
        t.equal((await ask(nginx, { path: '/api', from, headers: { [header]: value } })).statusCode, 429, `${from}, ${header}: ${value}`)
      }
    }
  }
})

test('the address of a client is seen as it is, over HTTP/1.1 and HTTP/2', async (t) => {
  const { app, nginx } = await serve(t)
  const headers = { 'x-forwarded-for': '198.51.100.7' }
  const { email } = await signUp(app)
  const tokens = []
  for (const from of ADDRESSES) {
    const { statusCode, body } = await ask(nginx, { method: 'POST', path: '/auth/login', body: { email, password: PASSWORD }, from, headers })
    t.equal(statusCode, 200)
    tokens.push(JSON.parse(body).accessToken)
  }
  const { status } = await createHttp2Client(t, nginx).ask(nginx.origin, { method: 'POST', path: '/auth/login', body: { email, password: PASSWORD } })
  t.equal(status, 200)
  const { body } = await ask(nginx, { path: '/me/sessions', headers: { ...headers, ...bearer(tokens[0]) } })
  const seen = JSON.parse(body).sessions.map(({ ip }: { ip: string }) => ip)
  t.same(seen, ['127.0.0.1', '127.0.0.2', '127.0.0.1', '127.0.0.1'], 'the latest first, and at last the one that came past nginx')
})

test('metrics and alerts are for those inside, however they are asked for', async (t) => {
  const token = 'ops-0123456789-0123456789-0123456789'
  const { app, nginx } = await serve(t, { OPS_TOKEN: token })
  t.equal((await app.inject({ url: '/metrics', headers: bearer(token) })).statusCode, 200)
  const paths = ['/metrics', '/metrics?a=b', '//metrics', '/%6detrics', '/./metrics', '/docs/../metrics', '/metrics/', '/METRICS', '/alerts/history', '/alerts/webhook', '/alerts%2fhistory']
  for (const path of paths) isProblem(t, await ask(nginx, { path, headers: bearer(token) }), 404, 'NOT_FOUND', path)
  t.same((await nginx.lines()).filter(({ upstream }) => upstream), [], 'none of them came through')
})

test('what microts refuses is passed on, also what is too large for it', async (t) => {
  const { nginx } = await serve(t)
  const isTold = (statusCode: number, code: string, question: Question) =>
    ask(nginx, question).then((answer) => isProblem(t, answer, statusCode, code, `${question.method ?? 'GET'} ${question.path}`))
  await isTold(404, 'NOT_FOUND', { path: '/nowhere' })
  await isTold(401, 'UNAUTHORIZED', { path: '/me' })
  await isTold(405, 'METHOD_NOT_ALLOWED', { method: 'PUT', path: '/auth/login' })
  await isTold(400, 'VALIDATION_ERROR', { method: 'POST', path: '/auth/login', body: {} })
  await isTold(415, 'UNSUPPORTED_MEDIA_TYPE', { method: 'POST', path: '/auth/login', body: 'text', headers: { 'content-type': 'text/plain' } })
  await isTold(414, 'BAD_REQUEST', { method: 'DELETE', path: `/me/sessions/${KILOBYTE}` })
  for (let i = 0; i < 20; i++) {
    await isTold(413, 'PAYLOAD_TOO_LARGE', { method: 'POST', path: '/auth/login', body: { email: KILOBYTE.repeat(50) } })
    await isTold(431, 'BAD_REQUEST', { path: '/api', headers: { 'x-large': KILOBYTE.repeat(20) } })
  }
  t.same((await nginx.lines()).filter(({ upstream }) => !upstream), [], 'all of it by microts')
})

test('what nginx itself refuses is a problem document like any other', async (t) => {
  const [silent, gone] = [await startPeer(t, () => {}), await freePort()]
  const { nginx } = await serve(t)
  isProblem(t, await ask(nginx, { method: 'POST', path: '/auth/login', body: { email: KILOBYTE.repeat(65) } }), 413, 'PAYLOAD_TOO_LARGE')
  isProblem(t, await ask(nginx, { path: '/api', headers: { 'x-large': KILOBYTE.repeat(33) } }), 431, 'BAD_REQUEST')
  isProblem(t, await ask(nginx, { path: `/${KILOBYTE.repeat(33)}` }), 414, 'BAD_REQUEST')
  t.equal(isProblem(t, await ask(nginx, { method: 'TRACE' }), 405, 'METHOD_NOT_ALLOWED').status, 405)
  const { statusCode, body } = await ask({ ...nginx, plainOrigin: nginx.origin.replace('https', 'http') }, { isPlain: true })
  t.match({ statusCode, body: JSON.parse(body) }, { statusCode: 400, body: { code: 'BAD_REQUEST' } }, 'HTTP to the port of HTTPS')

  for (const [statusCode, ports] of [[504, [silent.port, silent.port]], [502, [gone, gone]]] as const) {
    const own = await startNginx(t, { ports: await pair(), replicas: { blue: [...ports] }, edit: slowerWith(ORIGIN) })
    const answer = await ask(own, { method: 'POST', path: '/auth/login?token=canary', headers: { 'x-request-id': 'mine', 'x-correlation-id': 'ours', origin: ORIGIN, authorization: 'Bearer canary' } })
    t.match(isProblem(t, answer, statusCode, 'SERVICE_UNAVAILABLE'), { requestId: 'mine', correlationId: 'ours' })
    t.match(answer.headers, { 'retry-after': /^[1-9]\d*$/, vary: 'Origin', 'access-control-allow-origin': ORIGIN, 'access-control-expose-headers': /\bRetry-After\b/ })
    t.notMatch(await own.log('error') + await own.log('access'), /canary/)
    t.match((await own.lines()).at(-1), { requestId: 'mine', path: '/auth/login', upstreamStatus: new RegExp(`${statusCode}`) })
    t.notHas((await ask(own, { method: 'POST', path: '/auth/login', headers: { origin: `${ORIGIN}.evil.example` } })).headers, { 'access-control-allow-origin': String })
  }
})

test('the id of a request is the same for the client, nginx and microts', async (t) => {
  const log: string[] = []
  const { nginx } = await serve(t, { LOG_LEVEL: 'info' }, { stream: { write: (line) => { log.push(line) } } })
  for (const [id, isTaken] of [['mine', true], ['no id "\\', false], ['', false]] as const) {
    log.length = 0
    const { headers } = await ask(nginx, { path: '/api?password=canary', headers: { 'x-request-id': id, authorization: 'Bearer canary' } })
    const seen = headers['x-request-id']
    t.equal(seen === id, isTaken, id)
    t.match(seen, /^[\w.-]{1,128}$/)
    t.equal((await nginx.lines()).at(-1)!.requestId, seen)
    t.match(log.join(''), `"requestId":"${seen}"`)
  }
  t.notMatch(await nginx.log('access') + await nginx.log('error'), /canary/, 'neither the query nor the token is logged')
})

test('a replica hears who called and how, from nginx alone, over a connection that is kept', async (t) => {
  const heads: string[] = []
  const peer = await startPeer(t, (socket) => socket.on('data', (chunk) => {
    heads.push(String(chunk))
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  }))
  const nginx = await startNginx(t, { ports: await pair(), replicas: { blue: [peer.port, peer.port] }, edit: withOneWorker })
  const lies = Object.fromEntries([...SPOOFS, 'x-forwarded-proto', 'x-forwarded-port', 'x-correlation-id'].map((name) => [name, 'a lie']))
  for (let i = 0; i < 4; i++) t.equal((await ask(nginx, { path: '/a%2Fb?c=%20', from: '127.0.0.2', headers: lies })).statusCode, 200)

  const [head = ''] = heads
  t.match(head, /^GET \/a%2Fb\?c=%20 HTTP\/1\.1\r\nHost: id\.example\.com\r\nX-Forwarded-For: 127\.0\.0\.2\r\nX-Forwarded-Proto: https\r\n/)
  t.match(head, /X-Request-Id: [\da-f]{32}\r\nX-Correlation-Id: [\da-f]{32}\r\n/)
  const believed = /^(x-client-ip|true-client-ip|cf-connecting-ip)/i      // by nobody: they pass
  t.same(head.split('\r\n').filter((line) => line.includes('a lie') && !believed.test(line)), [])
  t.equal(peer.connections, 1)
})

test('its deadlines fit those of microts', async (t) => {
  const [config, upstream] = await Promise.all(['nginx.conf', 'upstream.conf'].map((name) => readFile(join(import.meta.dirname, '../../../deploy/tls', name), 'utf8'))) as [string, string]
  const deadline = (text: string, name: string) => Array.from(text.matchAll(RegExp(`^ *${name} (\\d+)s;`, 'gm')), ([, seconds]) => Number(seconds) * 1000)
  const { REQUEST_TIMEOUT, SHUTDOWN_DELAY, SHUTDOWN_TIMEOUT } = EnvSchema.properties
  const kept = deadline(upstream, 'keepalive_timeout')
  t.equal(kept.length, 2)
  for (const ms of kept) t.ok(ms < SHUTDOWN_DELAY.default, 'nginx lets go of an idle connection before a replica that drains does')
  t.ok(deadline(config, 'proxy_read_timeout')[0]! > REQUEST_TIMEOUT.default, 'microts gives up first, and says so')
  const [stays, keeps] = [deadline(config, 'worker_shutdown_timeout')[0]!, deadline(config, 'keepalive_time')[0]!]
  t.ok(stays > SHUTDOWN_TIMEOUT.default, 'an old worker stays for as long as an answer may take')
  t.ok(stays > keeps + REQUEST_TIMEOUT.default, 'and for as long as a connection is kept')
})

test('only what can be done twice is sent to another replica, and what the first one never got', async (t) => {
  const cut = await startPeer(t, (socket) => socket.once('data', () => socket.destroy()))
  const closed = await freePort()
  const good = await startPeer(t, (socket) => socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')))
  const statusOf = async (first: number, method: string, path: string) => {
    const nginx = await startNginx(t, { ports: await pair(), replicas: { blue: [first, good.port] }, edit: withOneWorker })
    return (await ask(nginx, { method, path, body: {} })).statusCode
  }
  for (const method of ['GET', 'DELETE']) t.equal(await statusOf(cut.port, method, '/me'), 200, `${method}, which may be done twice`)
  for (const method of ['POST', 'PATCH']) t.equal(await statusOf(cut.port, method, '/me'), 502, `${method}, which may have been done`)
  t.equal(await statusOf(cut.port, 'PUT', '/me/password'), 502, 'the password may be another one by now')
  for (const method of ['GET', 'POST', 'PATCH', 'DELETE']) t.equal(await statusOf(closed, method, '/me'), 200, `${method}, which nobody got`)
  t.equal(cut.connections, 5)
})

test('a replica drains and another one comes while clients go on: nothing fails', { timeout: 120_000 }, async (t) => {
  const [first, second, http, https] = await freePorts(4) as [number, number, number, number]
  const launch = (port: number) => startServer(t, databaseUrl, { ...BEHIND_NGINX, ...PATIENCE, PORT: String(port), SHUTDOWN_DELAY: '5000' })
  const replicas = [launch(first), launch(second)]
  await Promise.all(replicas.map(ready))
  const nginx = await startNginx(t, { ports: { http, https }, replicas: { blue: [first, second] } })
  const loads = [createHttp2Client(t, nginx), createHttp1Client(t, nginx)].map(({ ask }) => startLoad(t, nginx.origin, 3, ask))
  await Promise.all(loads.map((load) => load.flow(50)))
  // nginx has idle connections to it, which the service closes when it stops.
  const end = await ending(replicas[0]!)
  await Promise.all(loads.map((load) => load.flow(50)))
  await ready(launch(first))
  await Promise.all(loads.map((load) => load.flow(50)))
  await Promise.all(loads.map((load) => load.stop()))

  const samples = loads.flatMap(({ samples }) => samples)
  t.comment(`${samples.length} requests, exit ${end.code} after ${end.seconds.toFixed(1)} s`)
  t.same(samples.filter(({ isGood }) => !isGood), [])
  t.equal(end.code, 0)
})

test('a new certificate is served after a reload, and nothing fails meanwhile', async (t) => {
  const { nginx } = await serve(t)
  const { ask } = createHttp2Client(t, nginx)
  const load = startLoad(t, nginx.origin, 4, ask)
  await load.flow(40)
  const old = await fingerprint(nginx)
  await nginx.certify()
  t.match(await nginx.test(), /test is successful/)
  await nginx.reload()
  await eventually(async () => await fingerprint(nginx) !== old)
  await load.flow(40)
  await load.stop()
  t.same(load.samples.filter(({ isGood }) => !isGood), [])
})

/** The service behind nginx, as the only replica of the colour that serves. */
async function serve (t: Test, env: Record<string, string> = {}, options: { stream?: { write: (line: string) => void } } = {}) {
  const app = await build(t, { ...BEHIND_NGINX, ...env }, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, nginx: await startNginx(t, { ports: await pair(), replicas: { blue: [port, port] } }) }
}

async function pair () {
  const [http, https] = await freePorts(2) as [number, number]
  return { http, https }
}

async function ask (nginx: Pick<Nginx, 'origin' | 'plainOrigin' | 'certificates'>, { method = 'GET', path = '/', headers = {}, body, from = '127.0.0.1', isPlain = false }: Question) {
  const payload = typeof body === 'object' ? JSON.stringify(body) : body
  const options = {
    method,
    agent: false as const,
    localAddress: from,
    headers: { host: NAME, ...payload && { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }, ...headers }
  }
  const asking = isPlain
    ? requestPlain(nginx.plainOrigin + path, options)
    : request(nginx.origin + path, { ...options, ca: nginx.certificates, servername: NAME })
  const [response] = await once(asking.end(payload), 'response') as [IncomingMessage]
  const { statusCode, rawHeaders } = response
  return { statusCode: statusCode!, headers: response.headers, rawHeaders, body: await text(response) }
}

const valuesOf = ({ rawHeaders }: { rawHeaders: string[] }, name: string) => rawHeaders.filter((_, i) => i % 2 && rawHeaders[i - 1]!.toLowerCase() === name)

async function shakeHands ({ origin, certificates: ca }: Nginx, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(origin).port), servername: NAME, ca, ...options })
  await once(socket, 'secureConnect')
  return socket
}

async function fingerprint (nginx: Nginx) {
  const socket = await shakeHands(nginx, {})
  const { fingerprint256 } = socket.getPeerX509Certificate()!
  socket.destroy()
  return fingerprint256
}

/** Something else in the place of a replica. */
async function startPeer (t: Test, speak: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    connections++
    sockets.add(socket.on('error', () => {}))
    speak(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    sockets.forEach((socket) => socket.destroy())
  })
  return { port: (server.address() as AddressInfo).port, get connections () { return connections } }
}

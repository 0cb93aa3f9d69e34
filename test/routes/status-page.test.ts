import { hash } from 'node:crypto'
import { test } from 'tap'
import { build } from '../helper.ts'
import { statusOf } from '../plugins/status-page/status.ts'
import type { FastifyInstance } from 'fastify'

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'
const HTML = { accept: 'text/html' }
const NO_TRAFFIC = { stepSeconds: 15, steps: [undefined], lately: undefined }
const at = new Date('2026-11-26T00:01:30Z')

const pageOf = async (app: FastifyInstance) => (await app.inject({ url: '/status', headers: HTML })).body
const textOf = (page: string) => page.replace(/<(style|script)>.*?<\/\1>/gs, '').replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')

test('a browser gets a page, a program the JSON, and a cache is told why', async (t) => {
  const app = await build(t)
  const table: [accept: string | undefined, type: RegExp][] = [
    [BROWSER, /^text\/html; charset=utf-8$/], ['text/html', /^text\/html/], ['application/json', /^application\/json/], ['*/*', /^application\/json/], [undefined, /^application\/json/],
    ['text/html;q=0.5, application/json;q=0.6', /^application\/json/], ['image/png', /^application\/json/]
  ]
  for (const [accept, type] of table) {
    for (const method of ['GET', 'HEAD'] as const) {
      const answer = await app.inject({ method, url: '/status', headers: accept === undefined ? {} : { accept } })
      t.match(answer, { statusCode: 200, headers: { 'content-type': type, vary: 'Accept', 'cache-control': 'no-store' } }, `${method} ${accept}`)
      t.equal(answer.body === '', method === 'HEAD')
    }
  }
  const [page, json] = [await app.inject({ url: '/status', headers: HTML }), await app.inject('/status')]
  t.match(json.headers['content-security-policy'], "default-src 'none';frame-ancestors 'none'")
  t.match(json.json(), { service: 'microts', status: 'up' })
  t.equal(Number(page.headers['content-length']), Buffer.byteLength(page.body))
})

test('what varies with the origin varies with Accept too', async (t) => {
  const app = await build(t, { ALLOWED_ORIGINS: 'https://a.example' })
  t.equal((await app.inject('/status')).headers.vary, 'Origin, Accept')
})

test('the page may run its own script and style and nothing else', async (t) => {
  const app = await build(t)
  const { headers, body } = await app.inject({ url: '/status', headers: HTML })
  const of = (name: string) => [...body.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'gs'))].map(([, text]) => `'sha256-${hash('sha256', text!, 'base64')}'`)
  t.equal(headers['content-security-policy'], `default-src 'none'; script-src ${of('script')[0]}; style-src ${of('style')[0]}; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`)
  t.same([of('script').length, of('style').length], [1, 1])
  t.notMatch(body, /<script[^>]|<style[^>]|\son\w+=|\sstyle=|javascript:/)
  t.match(headers, { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'x-frame-options': 'DENY' })
})

test('the page loads nothing from anywhere', async (t) => {
  const app = await build(t)
  const body = (await pageOf(app)).replace("xmlns='http://www.w3.org/2000/svg'", '')
  t.notMatch(body, /https?:|\/\/[a-z]|url\(|@import|<img|<iframe|<object|\ssrc=/)
  const links = [...body.matchAll(/href="([^"]*)"/g)].map(([, path]) => path!)
  t.same(links.filter((path) => !path.startsWith('data:image/svg+xml,')), ['/health', '/ready', '/docs', '/api'])
})

test('the page says what the JSON says', async (t) => {
  const app = await build(t, { HASH_CONCURRENCY: '3' })
  const [page, { version, hashing }] = [await pageOf(app), (await app.inject('/status')).json()]
  const text = textOf(page)
  for (const part of ['Everything works.', 'None is firing.', 'Database Up Closed', 'Redis Not in use None', 'Alert webhook Not in use None', `Version ${version}`, `${hashing.build} build, 3 at a time`]) t.match(text, part)
  t.match(page, /<html lang="en"/)
  t.match(page, /<meta name="viewport" content="width=device-width, initial-scale=1">/)
  for (const landmark of ['header', 'main', 'footer', 'nav aria-label="More"']) t.equal(page.split(`<${landmark}>`).length, 2, landmark)
  t.match(page, /<noscript><meta http-equiv="refresh" content="60"><\/noscript>/)
})

test('the page shows the traffic of the last minutes', async (t) => {
  const app = await build(t)
  const flow = { perSecond: 12.5, failureShare: 0.02, medianMs: 8, p95Ms: 1200 }
  t.intercept(app.traffic, 'report', { value: () => ({ stepSeconds: 15, steps: [...Array(58), { perSecond: 0 }, flow], lately: flow }) })
  const page = await pageOf(app)
  t.match(textOf(page).replaceAll('\u00a0', ' '), /12\.5 \/s.*2 %.*8 ms.*95th percentile 1\.2 s/)
  const labels = [...page.matchAll(/aria-label="([^"]*)"/g)].map(([, label]) => label!.replaceAll('\u00a0', ' '))
  t.same(labels.slice(0, 3), [
    'Requests per second over the last 15 minutes: requests last 12.5/s, at least 0/s, at most 12.5/s.',
    'Share of failed requests over the last 15 minutes: failed last 2 %, at least 2 %, at most 2 %.',
    'Time until the answer over the last 15 minutes: median last 8 ms, at least 8 ms, at most 8 ms; 95th percentile last 1.2 s, at least 1.2 s, at most 1.2 s.'
  ])
})

test('alerts are listed with name, severity and since when, and none of it is markup', async (t) => {
  const app = await build(t)
  const since = new Date('2026-11-26T00:00:00Z')
  const hostile = '"><script>alert(1)</script><img src=x onerror=\'alert(1)\'>'
  const firing = ['critical', 'warning', 'info', hostile].map((severity) => ({ name: severity === hostile ? hostile : `On${severity}`, severity, since }))
  const page = app.statusPage.render({ status: statusOf({ firing: 4, resolved: 1 }), traffic: NO_TRAFFIC, firing, at })
  t.equal(page.split('<script').length, 2)
  t.notMatch(page, /<img|<[^>]*onerror/)
  t.match(page, '<strong>&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;</strong>')
  t.match(textOf(page), 'Oncritical critical for 1 min 30 s, since 26 Nov 2026, 00:00 UTC')
  t.match(page, /<span class="mark bad" aria-hidden="true"><\/span><p><strong>Oncritical.*<span class="mark warn" aria-hidden="true"><\/span><p><strong>Onwarning.*<span class="mark off" aria-hidden="true"><\/span><p><strong>Oninfo/s)
  t.match(textOf(page), '1 is resolved.')
})

test('of many alerts the first are listed and the others counted', async (t) => {
  const app = await build(t)
  const show = (listed: number, firing: number) => {
    const alerts = Array.from({ length: listed }, (_, i) => ({ name: `Alert${i}.`, severity: 'warning', since: at }))
    return textOf(app.statusPage.render({ status: statusOf({ firing, resolved: 2 }), traffic: NO_TRAFFIC, firing: alerts, at }))
  }
  t.match(show(25, 25), /Alert19\..* 5 more are firing\. 2 are resolved\./)
  t.notMatch(show(25, 25), 'Alert20.')
  t.match(show(20, 21), ' 1 more is firing.')
  t.match(show(0, 3), ' 3 are firing.')
  t.match(show(2, 2), /UTC 2 are resolved\./)
  t.match(show(0, 0), 'None is firing. 2 are resolved.')
})

test('the page names no host, no user, no route that is asked and no secret', async (t) => {
  const app = await build(t, { LOG_LEVEL: 'fatal' })
  await app.inject('/me/sessions')
  const page = await pageOf(app)
  for (const secret of ['/me', 'sessions', 'postgres://', '127.0.0.1', 'localhost', app.config.REFRESH_TOKEN_SECRET!]) t.notMatch(page, secret)
})

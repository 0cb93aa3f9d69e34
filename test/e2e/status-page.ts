import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from 'tap'
import { buildWith } from '../build-with.ts'
import { openChromium, openFolder, openPage } from './chromium.ts'
import type { FastifyInstance } from 'fastify'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'

const DESK = { viewport: { width: 1280, height: 900 } }
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
const STEP_MS = 15_000
const REFRESH_MS = 15_000

const folder = await openFolder()

test('the status page is readable on a desk and on a phone, by day and by night', async (t) => {
  t.comment(`screenshots in ${folder}`)
  const { app, url, pass } = await serve(t)
  await quarterOfAnHour(app, pass)
  const browser = await openChromium(t)
  for (const [device, options] of Object.entries({ desk: DESK, phone: PHONE })) {
    for (const colorScheme of ['light', 'dark'] as const) {
      const { page, seen } = await openPage(browser, { ...options, colorScheme, reducedMotion: 'reduce' })
      await page.goto(`${url}/status`)
      t.equal(await page.getByRole('heading', { level: 1 }).innerText(), 'Everything works.')
      t.equal(await page.getByRole('img', { name: /^(Requests|Share of failed|Time until)/ }).count(), 3)
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), options.viewport.width, `${device} does not scroll sideways`)
      await page.screenshot({ path: join(folder, `status-${device}-${colorScheme}.png`), fullPage: true })
      t.same(seen, { complaints: [], failed: [], origins: new Set([url]) })
      await page.close()
    }
  }
})

test('the status page keeps itself up to date, and says when it cannot', async (t) => {
  const { app, url, pass } = await serve(t)
  const { page, seen } = await openPage(await openChromium(t), DESK)
  await page.clock.install()
  await page.goto(`${url}/status`)
  const [state, requests, notice] = [page.locator('h1'), page.locator('.value').first(), page.getByRole('status').first()]
  t.equal(await requests.innerText(), '–')
  await page.screenshot({ path: join(folder, 'status-new.png'), fullPage: true })

  for (let i = 0; i < 30; i++) await app.inject('/api')
  pass(STEP_MS)
  await wait(page, REFRESH_MS)
  await requests.filter({ hasText: '2/s' }).waitFor()

  await page.getByRole('button', { name: 'Pause updates' }).click()
  app.health.drain()
  await wait(page, 10 * REFRESH_MS)
  t.equal(await state.innerText(), 'Everything works.')
  await page.getByRole('button', { name: 'Resume updates' }).click()
  await state.filter({ hasText: 'takes no requests' }).waitFor()
  t.match(await page.title(), /^This instance takes no requests/)
  t.same(seen, { complaints: [], failed: [], origins: new Set([url]) })

  await page.route('**/status', (route) => route.fulfill({ status: 503, contentType: 'text/html', body: '<h1>Bad gateway</h1>' }))
  await wait(page, REFRESH_MS)
  await notice.filter({ hasText: 'No good answer' }).waitFor()
  t.match(await page.title(), /^No answer · This instance/)
  await page.screenshot({ path: join(folder, 'status-stale.png'), fullPage: true })

  await page.unroute('**/status')
  await wait(page, REFRESH_MS)
  await notice.filter({ hasNotText: /./ }).waitFor({ state: 'attached' })
  t.match(await page.title(), /^This instance/)
})

test('the status page rests while nobody looks, and looks again when somebody does', async (t) => {
  const { url } = await serve(t)
  const { page } = await openPage(await openChromium(t), DESK)
  let asked = 0
  page.on('request', () => asked++)
  await page.clock.install()
  await page.goto(`${url}/status`)
  const look = (isHidden: boolean) => page.evaluate(`Object.defineProperty(document, 'hidden', { configurable: true, value: ${isHidden} }); document.dispatchEvent(new Event('visibilitychange'))`)

  await look(true)
  await wait(page, 10 * REFRESH_MS)
  t.equal(asked, 1)
  const again = page.waitForRequest(`${url}/status`)
  await look(false)
  await again
  t.equal(asked, 2)
})

test('the status page of another version is loaded anew', async (t) => {
  const { url } = await serve(t)
  const { page } = await openPage(await openChromium(t), DESK)
  await page.clock.install()
  await page.goto(`${url}/status`)
  await page.route('**/status', async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: (await response.text()).replace(/data-build="/, '$&next') })
  }, { times: 1 })
  const loaded = page.waitForEvent('load')
  await wait(page, REFRESH_MS)
  await loaded
  t.notMatch(await page.locator('html').getAttribute('data-build'), /^next/)
})

test('the status page works without a script', async (t) => {
  const { app, url, pass } = await serve(t)
  await app.inject('/api')
  pass(STEP_MS)
  const { page, seen } = await openPage(await openChromium(t), { ...PHONE, javaScriptEnabled: false })
  await page.goto(`${url}/status`)
  t.equal(await page.locator('h1').innerText(), 'Everything works.')
  t.equal(await page.getByRole('button').count(), 0)
  t.equal(await page.locator('meta[http-equiv=refresh]').getAttribute('content'), '60')
  t.same(seen, { complaints: [], failed: [], origins: new Set([url]) })
})

test('trouble is seen, and long names fit', async (t) => {
  const { app, url } = await serve(t)
  const status = (await app.inject('/status')).json()
  const view = {
    status: {
      ...status,
      status: 'degraded' as const,
      dependencies: { ...status.dependencies, redis: { status: 'degraded' as const, breaker: 'open' as const }, webhook: { status: 'degraded' as const, breaker: 'half-open' as const } },
      alerts: { total: 9, firing: 3, resolved: 6 }
    },
    traffic: app.traffic.report(),
    firing: [['DatabaseSlow', 'critical', 40], ['x<script>alert(1)</script>'.repeat(9), 'warning', 900], ['Quiet', 'info', 200_000]]
      .map(([name, severity, seconds]) => ({ name: String(name), severity: String(severity), since: new Date(Date.now() - Number(seconds) * 1000) })),
    at: new Date()
  }
  t.intercept(app.statusPage, 'render', { value: ((render) => () => render(view))(app.statusPage.render) })
  const browser = await openChromium(t)
  for (const [device, options] of Object.entries({ desk: DESK, phone: PHONE })) {
    const { page, seen } = await openPage(browser, { ...options, colorScheme: device === 'desk' ? 'dark' : 'light' })
    await page.goto(`${url}/status`)
    t.match(await page.locator('h1').innerText(), /^In service, but/)
    t.equal(await page.locator('.alerts li').count(), 3)
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), options.viewport.width, `${device} does not scroll sideways`)
    await page.screenshot({ path: join(folder, `status-trouble-${device}.png`), fullPage: true })
    t.same(seen, { complaints: [], failed: [], origins: new Set([url]) })
  }
})

/** A service that listens, and a way to have time pass for it: as after a suspension, its clock is later all at once. */
async function serve (t: Test) {
  const { now } = performance
  let laterMs = 0
  t.intercept(performance, 'now', { value: () => now.call(performance) + laterMs })
  const app = await buildWith(t, (app) => {
    app.get('/slow', async (request) => { await delay(Number((request.query as { ms: string }).ms)) })
    app.get('/fails', async () => { throw new Error('boom') })
  })
  return { app, url: await app.listen({ port: 0, host: '127.0.0.1' }), pass: (ms: number) => { laterMs += ms } }
}

/** Ups and downs, a pause, and a bad moment. */
async function quarterOfAnHour (app: FastifyInstance, pass: (ms: number) => void) {
  for (let step = 0; step < 56; step++) {
    const isBad = step > 38 && step < 44
    const count = step > 17 && step < 21 ? 0 : Math.round(30 + 18 * Math.sin(step / 7) + randomInt(8))
    await Promise.all(Array.from({ length: count }, async (_, i) => {
      if (i % 20 === 0 && (isBad || step % 13 === 0)) return app.inject('/fails')
      return app.inject(i % 4 === 0 ? '/api' : `/slow?ms=${i % 11 === 0 ? (isBad ? 80 : 25) + randomInt(15) : 3 + randomInt(5)}`)
    }))
    pass(STEP_MS)
  }
}

/** The clock of the page; what it then asks for takes real time. */
const wait = (page: Page, ms: number) => page.clock.fastForward(ms)

import { join } from 'node:path'
import { test } from 'tap'
import { PASSWORD, settings } from '../helper.ts'
import { ready, start } from '../processes.ts'
import { openChromium, openFolder, openPage } from './chromium.ts'
import type { Locator, Page } from 'playwright-core'
import type { Test } from 'tap'

const EMAIL = 'grace@example.com'
const DESK = { viewport: { width: 1280, height: 900 } }
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }

const folder = await openFolder()

test('in the docs somebody signs up, looks at the account and signs out', async (t) => {
  t.comment(`screenshots in ${folder}`)
  const url = await serve(t)
  const { page, seen } = await openPage(await openChromium(t), DESK)
  await page.goto(`${url}/docs`)

  const register = await unfold(page, 'auth-register')
  await register.locator('textarea').fill(JSON.stringify({ email: EMAIL, password: PASSWORD, displayName: 'Grace Hopper' }))
  const registered = await execute(register)
  t.equal(registered.status, 201)
  t.equal(registered.body.user.email, EMAIL)
  await take(register, 'register')

  await authorise(page, registered.body.accessToken)
  const me = await unfold(page, 'me-getMe')
  const found = await execute(me)
  t.equal(found.status, 200)
  t.match(found.body, { user: { email: EMAIL, displayName: 'Grace Hopper' } })
  await take(me, 'me')

  const logout = await unfold(page, 'auth-logout')
  t.equal((await execute(logout)).status, 204)
  t.same(seen.complaints, [])

  const refused = await execute(me)
  t.equal(refused.status, 401)
  t.match(refused.body, { status: 401, code: 'UNAUTHORIZED' })
  await take(me, 'signed-out')
  t.same(seen.complaints, [`${url}/me: Failed to load resource: the server responded with a status of 401 (Unauthorized)`], 'Chromium tells of the 401, and of nothing else')
  t.same(seen.failed, [])
  t.same(seen.origins, new Set([url]))
})

test('the docs fit a phone', async (t) => {
  const url = await serve(t)
  const { page, seen } = await openPage(await openChromium(t), PHONE)
  await page.goto(`${url}/docs`)
  await page.locator('.opblock').first().waitFor()
  t.equal(await page.evaluate('document.documentElement.scrollWidth'), PHONE.viewport.width)
  await page.screenshot({ path: join(folder, 'phone.png') })

  const health = await unfold(page, 'ops-getHealth')
  t.equal((await execute(health)).status, 200)
  await take(health, 'phone-health')
  t.same(seen, { complaints: [], failed: [], origins: new Set([url]) })
})

function serve (t: Test) {
  return ready(start(t, 'server.ts', [], { ...settings, LOG_LEVEL: 'info', PORT: '0' }))
}

async function unfold (page: Page, operation: string) {
  const block = page.locator(`#operations-${operation}`)
  await block.locator('.opblock-summary-control').click()
  return block
}

/** Asks anew, and reads the answer as it is shown. */
async function execute (block: Locator) {
  const clear = block.getByRole('button', { name: 'Clear' })
  if (await clear.isVisible()) await clear.click()
  await block.getByRole('button', { name: 'Execute' }).click()
  const answer = block.locator('.live-responses-table tbody')
  const status = parseInt(await answer.locator('.response-col_status').innerText())
  const body = answer.locator('.response-col_description .highlight-code code').first()
  return { status, body: await body.isVisible() ? JSON.parse(await body.innerText()) : undefined }
}

async function authorise (page: Page, accessToken: string) {
  await page.locator('.auth-wrapper').getByRole('button', { name: 'Authorize' }).click()
  const dialog = page.locator('.dialog-ux')
  const users = dialog.locator('form').filter({ hasText: 'An access token' })      // the other one is for operators
  await users.getByLabel('auth-bearer-value').fill(accessToken)
  await users.getByRole('button', { name: 'Apply credentials' }).click()
  await users.getByRole('button', { name: 'Close' }).click()
}

async function take (block: Locator, name: string) {
  await block.locator('.live-responses-table').scrollIntoViewIfNeeded()
  await block.page().screenshot({ path: join(folder, `${name}.png`) })
}

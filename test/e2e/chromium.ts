import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { chromium } from 'playwright-core'
import { bring } from '../debian-packages.ts'
import type { Browser, BrowserContextOptions } from 'playwright-core'
import type { Test } from 'tap'

// Nothing but this machine is called, not even by Chromium itself.
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
]

const VIOLATIONS_TO_CONSOLE = `document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
  console.error(violatedDirective + ' forbids ' + blockedURI)
})`

/** A browser without a profile, in a home folder of its own, which is closed when the test ends. */
export async function openChromium (t: Test) {
  const { path, env } = await bring('chromium', {
    packages: ['chromium'],
    program: 'usr/lib/chromium/chromium',      // usr/bin/chromium is a script that wants /etc/chromium.d
    aliases: ['chromium-browser', 'google-chrome']
  })
  const home = await mkdtemp(join(tmpdir(), 'chromium-'))
  const browser = await chromium.launch({ executablePath: path, env: { ...process.env, ...env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home }, args: FLAGS })
  t.teardown(() => browser.close())
  return browser
}

/** A page, and what a developer would see in its tools: the console above information, what failed, whom it called. */
export async function openPage (browser: Browser, options: BrowserContextOptions) {
  const page = await browser.newPage(options)
  const seen = { complaints: [] as string[], failed: [] as string[], origins: new Set<string>() }
  page.on('console', (message) => {
    const where = message.location().url
    if (['error', 'warning', 'assert'].includes(message.type())) seen.complaints.push(`${where}: ${message.text()}`)
  })
  page.on('pageerror', ({ message }) => seen.complaints.push(message))
  page.on('requestfailed', (request) => seen.failed.push(`${request.url()}: ${request.failure()?.errorText}`))
  page.on('request', (request) => {
    if (!request.url().startsWith('data:')) seen.origins.add(new URL(request.url()).origin)
  })
  await page.addInitScript({ content: VIOLATIONS_TO_CONSOLE })
  return { page, seen }
}

/** Where the screenshots go: beside the folder of the test run, which ends with it. */
export async function openFolder (name = process.env.E2E_ARTEFACTS) {
  if (!name) return await mkdtemp(join(dirname(tmpdir()), 'microts-e2e-'))
  await mkdir(name, { recursive: true })
  return name
}

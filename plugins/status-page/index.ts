import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fp from 'fastify-plugin'
import { verbatim, type Markup } from './html.ts'
import { page, type View } from './page.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The status as a page for people, and the headers it needs. */
    statusPage: { headers: Readonly<Record<string, string>>, render: (view: View) => string }
  }
}

const EVERY_SECONDS = 15
// Without a script the whole page is loaded anew, which interrupts who reads.
const EVERY_SECONDS_WITHOUT_SCRIPT = 60

export default fp(async (app) => {
  const [style, script] = await Promise.all([read('page.css'), read('page.js')])
  const assets = {
    style,
    script,
    build: hash('sha256', `${style}${script}`, 'base64url'),
    everySeconds: EVERY_SECONDS,
    everySecondsWithoutScript: EVERY_SECONDS_WITHOUT_SCRIPT
  }
  app.decorate('statusPage', {
    headers: Object.freeze({ ...app.pageHeaders, 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policyFor(style, script) }),
    render: (view) => page(assets, view)
  })
}, { name: 'status-page', dependencies: ['security'] })

const read = async (name: string) => verbatim(await readFile(join(import.meta.dirname, name), 'utf8'))

/** These two texts and no others; the icon is a data URL, and the script asks for the page again. */
function policyFor (style: Markup, script: Markup) {
  const sourceOf = ({ text }: Markup) => `'sha256-${hash('sha256', text, 'base64')}'`
  return [
    "default-src 'none'", `script-src ${sourceOf(script)}`, `style-src ${sourceOf(style)}`, 'img-src data:', "connect-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"
  ].join('; ')
}

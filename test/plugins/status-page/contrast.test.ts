import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'

const css = readFileSync(join(import.meta.dirname, '../../../plugins/status-page/page.css'), 'utf8')
const TEXT = 4.5
const GRAPHICS = 3

/** The colours of each theme, as they stand in the style. */
const themes = [...css.matchAll(/:root \{(.*?)\}/gs)].map(([, block]) =>
  Object.fromEntries([...block!.matchAll(/--([\w-]+): (#[\da-f]{6})\b/g)].map(([, name, colour]) => [name!, colour!])))

/** WCAG 2.2, relative luminance. */
function luminanceOf (colour: string) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}

function contrastOf (...colours: [string, string]) {
  const [lighter = 0, darker = 0] = colours.map(luminanceOf).sort((a, b) => b - a)
  return (lighter + 0.05) / (darker + 0.05)
}

test('by day and by night the contrast is that of WCAG AA', async (t) => {
  t.equal(themes.length, 2)
  for (const { paper, ...colours } of themes) {
    for (const name of ['ink', 'muted', 'good', 'warn', 'bad', 'off']) t.ok(contrastOf(colours[name]!, paper!) >= TEXT, `${name} on ${paper}`)
    t.ok(contrastOf(colours.plot!, paper!) >= GRAPHICS, `plot on ${paper}`)
  }
})

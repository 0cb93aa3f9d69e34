import { html, type Markup } from './html.ts'
import { said, type Quantity } from './words.ts'

export type Series = (number | undefined)[]
type Shape = 'area' | 'line' | 'dashes' | 'bars'
type Plot = { label: string, quantity: Quantity, floor: number, from: string, series: { name: string, shape: Shape, values: Series }[] }

const HEIGHT = 100
const STEPS_OF_SCALE = [1, 2, 5, 10]

/**
 * Series of one length over one scale that begins at zero. The drawing stretches to the width there is; what is read stands
 * beside it as text of the page. Where a series has no value there is a gap, and a value between gaps is a dot.
 */
export function plot ({ label, quantity, floor, from, series }: Plot): Markup {
  const values = series.flatMap(({ values }) => values).filter(isThere)
  const top = scaleFor(Math.max(floor, ...values))
  const width = series[0]!.values.length
  return html`
<div class="plot">
  <ol class="scale" aria-hidden="true">${[top, top / 2, 0].map((value) => html`<li>${said(quantity, value)}</li>`)}</ol>
  <svg viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${label}: ${series.map(told).join('; ')}.">
    <path class="grid" d="M0 0H${width}M0 ${HEIGHT / 2}H${width}"/>
    ${series.map(({ shape, values }) => SHAPES[shape](values.map((value) => isThere(value) ? rounded(HEIGHT * (1 - value / top)) : undefined)))}
    <path class="base" d="M0 ${HEIGHT}H${width}"/>
  </svg>
  ${values.length > 0 ? '' : html`<p class="empty">Nothing to show</p>`}
  <p class="span" aria-hidden="true"><span>${from}</span><span>now</span></p>
</div>`

  function told ({ name, values }: Plot['series'][number]) {
    const there = values.filter(isThere)
    if (there.length === 0) return `${name}: nothing to show`
    return `${name} last ${said(quantity, there.at(-1)!)}, at least ${said(quantity, Math.min(...there))}, at most ${said(quantity, Math.max(...there))}`
  }
}

/** By the heights of the points. */
const SHAPES: Record<Shape, (heights: Series) => Markup> = {
  area: (heights) => html`<path class="area" d="${runsOf(heights).map(([start, run]) => `M${start} ${HEIGHT}V${run[0]}${lineThrough(start, run)}H${start + run.length}V${HEIGHT}Z`).join('')}"/>${SHAPES.line(heights)}`,
  line: (heights) => html`<path class="line" d="${lineOf(heights)}"/><path class="dot" d="${dotsOf(heights)}"/>`,
  dashes: (heights) => html`<path class="line dashes" d="${lineOf(heights)}"/><path class="dot" d="${dotsOf(heights)}"/>`,
  bars: (heights) => html`<path class="bars" d="${heights.map((height, i) => isThere(height) && height < HEIGHT ? `M${i + 0.1} ${HEIGHT}V${height}h.8V${HEIGHT}Z` : '').join('')}"/>`
}

const lineOf = (heights: Series) => runsOf(heights).map(([start, run]) => lineThrough(start, run).replace('L', 'M')).join('')

const lineThrough = (start: number, run: number[]) => run.map((height, i) => `L${start + i + 0.5} ${height}`).join('')

// A line that goes nowhere is drawn as its round ends. What is alone would not be seen otherwise; the latest is what is looked for.
const dotsOf = (heights: Series) => runsOf(heights)
  .filter(([start, run]) => run.length === 1 || start + run.length === heights.length)
  .map(([start, run]) => `M${start + run.length - 0.5} ${run.at(-1)}h0`).join('')

/** What lies between gaps, and where it begins. */
function runsOf (heights: Series) {
  const runs: [start: number, run: number[]][] = []
  heights.forEach((height, i) => {
    if (!isThere(height)) return
    const last = runs.at(-1)
    if (last && last[0] + last[1].length === i) last[1].push(height)
    else runs.push([i, [height]])
  })
  return runs
}

/** The next round number whose half is one as well. */
function scaleFor (most: number) {
  const magnitude = 10 ** Math.floor(Math.log10(most))
  return magnitude * STEPS_OF_SCALE.find((step) => step * magnitude >= most)!
}

const isThere = (value: number | undefined): value is number => value !== undefined

const rounded = (value: number) => Math.round(value * 100) / 100

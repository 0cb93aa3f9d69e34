import { html, type Markup } from './html.ts'
import { plot, type Series } from './plot.ts'
import { latency, rate, said, share, type Quantity } from './words.ts'
import type { Flow, Traffic } from '../traffic.ts'

const MINUTE_SECONDS = 60
// Below that a scale would make a mountain of one request.
const LOWEST_TOP = { rate: 1, share: 0.01, latency: 10 }

/** Requests, errors and latency: the last minute as numbers, the time before as plots. */
export function figures ({ steps, stepSeconds, lately }: Traffic): Markup {
  const minutes = steps.length * stepSeconds / MINUTE_SECONDS
  const over = `over the last ${minutes} minutes`
  const from = `${minutes} min ago`
  const of = (key: keyof Flow): Series => steps.map((step) => step?.[key])

  return html`
${figure('Requests', big(rate, lately?.perSecond), 'in the last minute',
  plot({ label: `Requests per second ${over}`, quantity: rate, floor: LOWEST_TOP.rate, from, series: [{ name: 'requests', shape: 'area', values: of('perSecond') }] }))}
${figure('Errors', big(share, lately?.failureShare), 'of the requests failed on our side',
  plot({ label: `Share of failed requests ${over}`, quantity: share, floor: LOWEST_TOP.share, from, series: [{ name: 'failed', shape: 'bars', values: of('failureShare') }] }))}
${figure('Latency', big(latency, lately?.medianMs), slowOf(lately?.p95Ms), plot({
  label: `Time until the answer ${over}`,
  quantity: latency,
  floor: LOWEST_TOP.latency,
  from,
  series: [{ name: 'median', shape: 'line', values: of('medianMs') }, { name: '95th percentile', shape: 'dashes', values: of('p95Ms') }]
}))}`
}

const figure = (name: string, value: Markup, note: Markup | string, drawing: Markup) => html`
<figure>
  <figcaption><h3>${name}</h3><p class="value">${value}</p><p class="note">${note}</p></figcaption>
  ${drawing}
</figure>`

function big (quantity: Quantity, value: number | undefined) {
  if (value === undefined) return html`<span class="none">–</span>`
  const [number, unit] = quantity(value)
  return html`${number}<span class="unit">${unit}</span>`
}

const slowOf = (p95Ms: number | undefined) => html`
<span class="key"></span>median, <span class="key dashed"></span>95th percentile${p95Ms === undefined ? '' : ` ${said(latency, p95Ms)}`}`

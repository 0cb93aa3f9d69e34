import { figures } from './figures.ts'
import { html, Markup } from './html.ts'
import { BREAKERS, clockOf, dayOf, durationOf, named, sentenceOf, STATES, type Tone } from './words.ts'
import type { Status } from '../../schemas/ops.ts'
import type { Traffic } from '../traffic.ts'

/** What the page shows. Of alerts `status` has the numbers; `firing` names those it is to list. */
export type View = { status: Status, traffic: Traffic, firing: FiringAlert[], at: Date }
type FiringAlert = { name: string, severity: string, since: Date }
/** Text of files of ours, and how often the page asks again. */
type Assets = { style: Markup, script: Markup, build: string, everySeconds: number, everySecondsWithoutScript: number }

const MOST_ALERTS = 20
const COLOURS: Record<Tone, string> = { good: '1f7a4d', warn: 'b26a00', bad: 'c0362c', off: '6b6862' }

/** What stands in an element with data-part is replaced when the page asks again. */
export function page ({ style, script, build, everySeconds, everySecondsWithoutScript }: Assets, view: View): string {
  const { status, traffic, firing, at } = view
  const [sentence, tone] = sentenceOf(status, traffic.lately?.failureShare)
  return String(html`<!doctype html>
<html lang="en" data-build="${build}" data-every="${everySeconds}">
<head>
<meta charset="utf-8">
<title>${sentence} · ${status.service}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<noscript><meta http-equiv="refresh" content="${everySecondsWithoutScript}"></noscript>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 2 2'%3E%3Ccircle cx='1' cy='1' r='.8' fill='%23${COLOURS[tone]}'/%3E%3C/svg%3E">
<style>${style}</style>
</head>
<body>
<header>
  <p class="service">${status.service} <span>status</span></p>
  <p class="updated"><span data-part="updated">As of ${timeOf(at, clockOf)}</span><button type="button" id="pause" hidden>Pause updates</button></p>
</header>
<main>
  <p id="notice" role="status" ></p>
  <section class="state" data-part="state" role="status"><h1>${mark(tone)}<span>${sentence}</span></h1></section>
  <section class="alerts" data-part="alerts" aria-labelledby="alerts"><h2 id="alerts">Alerts</h2>${alertsOf(status, firing, at)}</section>
  <section class="traffic" data-part="traffic" aria-labelledby="traffic"><h2 id="traffic">Traffic</h2><div class="figures">${figures(traffic)}</div></section>
  <div class="pair">
  <section data-part="dependencies" aria-labelledby="dependencies"><h2 id="dependencies">Dependencies</h2>${dependenciesOf(status)}</section>
  <section data-part="instance" aria-labelledby="instance"><h2 id="instance">This instance</h2>${instanceOf(status)}</section>
  </div>
</main>
<footer>
  <p>Figures are those of the instance that answered, without probes. Programs get this as JSON from the same address.</p>
  <nav aria-label="More"><ul>${Object.entries(status.links).map(([name, path]) => html`<li><a href="${path}">${name}</a></li>`)}</ul></nav>
</footer>
<script>${script}</script>
</body>
</html>
`)
}

const mark = (tone: Tone) => html`<span class="mark ${tone}" aria-hidden="true"></span>`

const timeOf = (time: Date, format: (time: Date) => string) => html`<time datetime="${time.toISOString()}">${format(time)}</time>`

function alertsOf ({ alerts }: Status, firing: FiringAlert[], at: Date) {
  const past = alerts.resolved === 0 ? '' : ` ${alerts.resolved} ${alerts.resolved === 1 ? 'is' : 'are'} resolved.`
  const count = Math.max(alerts.firing, firing.length)
  if (count === 0) return html`<p class="note">None is firing.${past}</p>`
  const listed = firing.slice(0, MOST_ALERTS)
  const more = count - listed.length
  return html`
<ul>${listed.map(({ name, severity, since }) => html`
  <li>${mark(toneOf(severity))}<p><strong>${name}</strong> <span class="severity">${severity}</span></p> <p class="since">for ${durationOf((at.getTime() - since.getTime()) / 1000)}, since ${timeOf(since, dayOf)}</p></li>`)}
</ul>
<p class="note">${more === 0 ? '' : `${more}${listed.length > 0 ? ' more' : ''} ${more === 1 ? 'is' : 'are'} firing.`}${past}</p>`
}

const toneOf = (severity: string): Tone => severity === 'critical' ? 'bad' : severity === 'warning' ? 'warn' : 'off'

const dependenciesOf = ({ dependencies }: Status) => html`
<table>
  <thead><tr><th scope="col">Name</th><th scope="col">State</th><th scope="col">Breaker</th></tr></thead>
  <tbody>${named(dependencies).map(([name, { status, breaker }]) => html`
    <tr><th scope="row">${name}</th><td>${stateOf(STATES[status])}</td><td>${stateOf(BREAKERS[breaker])}</td></tr>`)}
  </tbody>
</table>
<p class="note">While a breaker is open, what does not answer is left alone, and tried again every few seconds.</p>`

const stateOf = ([word, tone]: [word: string, tone: Tone]) => html`<span class="word ${tone}">${mark(tone)}${word}</span>`

const instanceOf = ({ uptime, version, hashing }: Status) => html`
<dl>
  <div><dt>Up for</dt><dd>${durationOf(uptime.seconds)}</dd></div>
  <div><dt>Started</dt><dd>${timeOf(new Date(uptime.startedAt), dayOf)}</dd></div>
  <div><dt>Version</dt><dd>${version}</dd></div>
  <div><dt>Password hashing</dt><dd>${hashing.build} build, ${hashing.concurrency} at a time</dd></div>
</dl>`

import type { Status } from '../../schemas/ops.ts'

export type Tone = 'good' | 'warn' | 'bad' | 'off'
type Dependency = keyof Status['dependencies']
type State = Status['dependencies'][Dependency]

const NAMES: Record<Dependency, string> = { database: 'Database', redis: 'Redis', webhook: 'Alert webhook' }
export const STATES: Record<State['status'], [word: string, tone: Tone]> = {
  up: ['Up', 'good'], degraded: ['Degraded', 'warn'], down: ['Down', 'bad'], disabled: ['Not in use', 'off']
}
export const BREAKERS: Record<State['breaker'], [word: string, tone: Tone]> = {
  closed: ['Closed', 'good'], 'half-open': ['Half open', 'warn'], open: ['Open', 'bad'], disabled: ['None', 'off']
}

export const named = (dependencies: Status['dependencies']) => (Object.entries(dependencies) as [Dependency, State][]).map(([key, state]) => [NAMES[key], state] as const)

/** More of its requests than this fail in a minute before the service as a whole is said to have trouble. */
const TROUBLE_SHARE = 0.05

/** The overall state in one sentence, and how it is to be taken. */
export function sentenceOf ({ status, dependencies, alerts }: Status, failureShare = 0): [sentence: string, tone: Tone] {
  const troubles = troublesOf(dependencies)
  if (status === 'down') return [troubles.length > 0 ? `Out of service: ${listed(troubles)}.` : 'This instance takes no requests.', 'bad']
  if (failureShare > TROUBLE_SHARE) troubles.push(`${said(share, failureShare)} of the requests fail`)
  if (alerts.firing > 0) troubles.push(alerts.firing === 1 ? 'one alert is firing' : `${alerts.firing} alerts are firing`)
  return troubles.length > 0 ? [`In service, but ${listed(troubles)}.`, 'warn'] : ['Everything works.', 'good']
}

function troublesOf (dependencies: Status['dependencies']) {
  const subjectsOf = (isMeant: (state: State) => boolean) => named(dependencies).filter(([, state]) => isMeant(state)).map(([name]) => name === 'Redis' ? name : `the ${name.toLowerCase()}`)
  const down = subjectsOf(({ status }) => status === 'down')
  const degraded = subjectsOf(({ status }) => status === 'degraded')
  const failing = subjectsOf(({ status, breaker }) => status === 'up' && breaker === 'open')
  // Until somebody asks again, that is all that is known.
  const failed = subjectsOf(({ status, breaker }) => status === 'up' && breaker === 'half-open')
  return [
    ...(down.length > 0 ? [`${listed(down)} ${are(down)} down`] : []),
    ...(degraded.length > 0 ? [`${listed(degraded)} ${are(degraded)} not available`] : []),
    ...(failing.length > 0 ? [`calls to ${listed(failing)} fail`] : []),
    ...(failed.length > 0 ? [`the last calls to ${listed(failed)} failed`] : [])
  ]
}

const are = ({ length }: string[]) => length === 1 ? 'is' : 'are'

const listed = (parts: string[]) => new Intl.ListFormat('en-GB').format(parts)

const SIZES = [[86_400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']] as const

/** The two largest units of it: 3 d 4 h. */
export function durationOf (seconds: number) {
  const first = Math.max(SIZES.findIndex(([size]) => seconds >= size), 0)
  const [[size, unit], next] = [SIZES[first]!, SIZES[first + 1]]
  if (seconds < 1) return '0 s'
  const rest = next && Math.floor(seconds % size / next[0])
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${next[1]}` : ''}`
}

const DAY = once(() => new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', timeZone: 'UTC' }))
const CLOCK = once(() => new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone: 'UTC' }))

export const dayOf = (time: Date) => `${DAY().format(time)} UTC`
export const clockOf = (time: Date) => `${CLOCK().format(time)} UTC`

const THREE_DIGITS = once(() => new Intl.NumberFormat('en-GB', { maximumSignificantDigits: 3 }))
// Quantiles are not known better.
const TWO_DIGITS = once(() => new Intl.NumberFormat('en-GB', { maximumSignificantDigits: 2 }))

export type Quantity = (value: number) => [number: string, unit: string]
export const rate: Quantity = (perSecond) => [THREE_DIGITS().format(perSecond), '/s']
export const share: Quantity = (part) => [TWO_DIGITS().format(part * 100), '%']
export const latency: Quantity = (ms) => ms < 995 ? [TWO_DIGITS().format(ms), 'ms'] : [TWO_DIGITS().format(ms / 1000), 's']

/** As one text, with a space that does not break. */
export const said = (quantity: Quantity, value: number) => quantity(value).join(quantity === rate ? '' : '\u00a0')

// What Intl knows of a language is read when the page is asked for, not at each start.
function once<Made> (make: () => Made) {
  let made: Made | undefined
  return () => (made ??= make())
}

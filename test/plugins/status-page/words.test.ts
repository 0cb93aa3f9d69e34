import { test } from 'tap'
import { dayOf, clockOf, durationOf, latency, rate, said, sentenceOf, share } from '../../../plugins/status-page/words.ts'
import { statusOf, type Change } from './status.ts'

const sentence = (dependencies: Change['dependencies'] = {}, { failureShare, ...rest }: Change & { failureShare?: number } = {}) =>
  sentenceOf(statusOf({ dependencies, ...rest }), failureShare)

test('the state is said in one sentence', async (t) => {
  t.same(sentence(), ['Everything works.', 'good'])
  t.same(sentence({ redis: 'up', webhook: 'up' }), ['Everything works.', 'good'])
  t.same(sentence({ redis: 'degraded' }), ['In service, but Redis is not available.', 'warn'])
  t.same(sentence({ redis: 'degraded', webhook: 'degraded' }), ['In service, but Redis and the alert webhook are not available.', 'warn'])
  t.same(sentence({ database: ['up', 'open'] }), ['In service, but calls to the database fail.', 'warn'])
  t.same(sentence({ database: ['up', 'half-open'] }), ['In service, but the last calls to the database failed.', 'warn'])
  t.same(sentence({ database: ['up', 'half-open'], redis: ['up', 'open'] }), ['In service, but calls to Redis fail and the last calls to the database failed.', 'warn'])
  t.same(sentence({}, { firing: 1 }), ['In service, but one alert is firing.', 'warn'])
  t.same(sentence({ redis: 'degraded' }, { firing: 2 }), ['In service, but Redis is not available and 2 alerts are firing.', 'warn'])
  t.same(sentence({}, { failureShare: 0.05 }), ['Everything works.', 'good'])
  t.same(sentence({}, { failureShare: 0.123 }), ['In service, but 12\u00a0% of the requests fail.', 'warn'])
  t.same(sentence({ database: 'down' }, { status: 'down' }), ['Out of service: the database is down.', 'bad'])
  t.same(sentence({ database: 'down', redis: 'degraded' }, { status: 'down' }), ['Out of service: the database is down and Redis is not available.', 'bad'])
  t.same(sentence({}, { status: 'down', firing: 3 }), ['This instance takes no requests.', 'bad'])
})

test('durations are said in their two largest units', async (t) => {
  const table: [seconds: number, text: string][] = [
    [-5, '0 s'], [0, '0 s'], [0.9, '0 s'], [1, '1 s'], [59.9, '59 s'], [60, '1 min'], [61, '1 min 1 s'], [3599, '59 min 59 s'], [3600, '1 h'], [3661, '1 h 1 min'],
    [86_399, '23 h 59 min'], [86_400, '1 d'], [86_400 + 59, '1 d'], [3 * 86_400 + 4 * 3600 + 720, '3 d 4 h'], [400 * 86_400, '400 d']
  ]
  for (const [seconds, text] of table) t.equal(durationOf(seconds), text)
})

test('times are those of UTC', async (t) => {
  const time = new Date('2026-11-26T00:05:09.999Z')
  t.equal(clockOf(time), '00:05:09 UTC')
  t.equal(dayOf(time), '26 Nov 2026, 00:05 UTC')
})

test('quantities have a unit and no more digits than are known', async (t) => {
  for (const [perSecond, text] of [[0, '0/s'], [1 / 15, '0.0667/s'], [12.345, '12.3/s'], [1234.5, '1,230/s']] as const) t.equal(said(rate, perSecond), text)
  for (const [part, text] of [[0, '0 %'], [1, '100 %'], [0.0123, '1.2 %'], [1 / 9000, '0.011 %']] as const) t.equal(said(share, part), text.replace(' ', '\u00a0'))
  for (const [ms, text] of [[0.123, '0.12 ms'], [8.77, '8.8 ms'], [994, '990 ms'], [995, '1 s'], [1000, '1 s'], [12_345, '12 s']] as const) t.equal(said(latency, ms), text.replace(' ', '\u00a0'))
})

import { test } from 'tap'
import { receivedOf } from '../../../plugins/alerts/received.ts'
import { createRepeats } from '../../../plugins/alerts/repeats.ts'
import { alert } from '../../alertmanager.ts'

const QUIET_MS = 15 * 60_000
const told = alert()
const received = (more = {}) => receivedOf([{ ...told, ...more }])[0]!

test('what is told again within a quarter of an hour is no news, and after it is', async (t) => {
  let nowMs = 0
  const isNews = createRepeats(() => nowMs)
  const at = (ms: number) => {
    nowMs = ms
    return isNews(received())
  }
  t.same([0, 1, QUIET_MS - 1, QUIET_MS, 2 * QUIET_MS - 1, 2 * QUIET_MS].map(at), [true, false, false, true, false, true])
})

test('an end is news, and so are another start, another alert and what fires again, unless it is only told of late', async (t) => {
  let nowMs = 0
  const isNews = createRepeats(() => nowMs)
  t.ok(isNews(received()))
  t.ok(isNews(received({ status: 'resolved' })))
  t.notOk(isNews(received({ status: 'resolved' })))
  nowMs = 44_999
  t.notOk(isNews(received()))
  nowMs = 45_000
  t.ok(isNews(received()))
  t.ok(isNews(received({ startsAt: '2026-11-23T00:00:00Z' })))
  t.ok(isNews(received({ fingerprint: 'another' })))
})

test('of 10 000 alerts the one told longest ago is forgotten', async (t) => {
  const isNews = createRepeats()
  for (let i = 0; i < 10_000; i++) isNews(received({ fingerprint: `f${i}` }))
  isNews(received({ fingerprint: 'one too many' }))
  t.notOk(isNews(received({ fingerprint: 'f1' })))
  t.ok(isNews(received({ fingerprint: 'f0' })))
})

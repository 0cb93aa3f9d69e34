import { test } from 'tap'
import { build } from '../helper.ts'
import { createLog } from '../log.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

test('a log line names the trace of the caller, if it is one', async (t) => {
  const log = createLog()
  const app = await build(t, { LOG_LEVEL: 'info' }, { stream: log })
  const ask = async (traceparent: string) => {
    log.written.length = 0
    t.equal((await app.inject({ url: '/api', headers: { traceparent } })).statusCode, 200, traceparent)
    t.equal(log.lines.length, 1)
    return log.lines[0]?.trace_id
  }
  for (const valid of [`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-00`, `00-${TRACE}-${SPAN}-ff`, `01-${TRACE}-${SPAN}-01`, `cc-${TRACE}-${SPAN}-01-what-the-future-brings`]) {
    t.equal(await ask(valid), TRACE, valid)
  }
  const invalid = [
    '', 'x', `ff-${TRACE}-${SPAN}-01`, `00-${'0'.repeat(32)}-${SPAN}-01`, `00-${TRACE}-${'0'.repeat(16)}-01`, `00-${TRACE}-${SPAN}`, `00-${TRACE}-${SPAN}-1`, `00-${TRACE}-${SPAN}-01-more`, `00-${TRACE}-${SPAN}-01-`,
    `00-${TRACE.slice(1)}-${SPAN}-01`, `00-${TRACE}0-${SPAN}-01`, `00-${TRACE}-${SPAN}0-01`, `00-${TRACE.toUpperCase()}-${SPAN}-01`, `0x-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-0g`, `01-${TRACE}-${SPAN}-01.x`,
    ` 00-${TRACE}-${SPAN}-01`, `00_${TRACE}_${SPAN}_01`, `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`, 'a'.repeat(10_000)
  ]
  for (const traceparent of invalid) t.equal(await ask(traceparent), undefined, traceparent)
})

import { test } from 'tap'
import { receivedOf, severityClass } from '../../../plugins/alerts/received.ts'
import { textOf } from '../../../plugins/alerts/text.ts'
import { alert, OPEN, STARTED } from '../../alertmanager.ts'

const ENDED = '2026-11-22T13:00:00+01:00'
const one = (...told: Parameters<typeof alert>) => receivedOf([alert(...told)])[0]!

test('an alert is what its labels and annotations say', async (t) => {
  const labels = { alertname: 'HighErrorRate', severity: 'Critical', instance: 'a:1' }
  t.same(receivedOf([{ status: 'firing', labels, annotations: { summary: 'Many fail', description: 'Look\nhere', runbook_url: 'https://x.example/book#page' }, startsAt: STARTED, endsAt: OPEN, fingerprint: 'f' }]), [{
    fingerprint: 'f', name: 'HighErrorRate', status: 'firing', severity: 'critical', summary: 'Many fail', description: 'Look\nhere', runbook: 'https://x.example/book#page', labels, startsAt: new Date('2026-11-22T12:00:00.123Z'), endsAt: null
  }])
  t.match(one({ status: 'resolved', endsAt: ENDED }), { status: 'resolved', endsAt: new Date('2026-11-22T12:00:00Z') })
  t.equal(one({ status: 'resolved', endsAt: undefined }).endsAt, null)
  t.equal(one({ status: 'firing', endsAt: ENDED }).endsAt, null, 'what fires has not ended')
  t.match(one({ labels: {}, annotations: undefined }), { name: 'unnamed', severity: 'none', summary: null, description: null })
})

test('only three severities are counted by name', async (t) => {
  const counted = ['critical', 'CRITICAL', 'warning', 'info', 'page', ' ', 'other', 'constructor'].map((severity) => severityClass(one({}, { severity })))
  t.same(counted, ['critical', 'critical', 'warning', 'info', 'other', 'other', 'other', 'other'])
})

test('who has no fingerprint is known by all labels, in any order', async (t) => {
  const of = (labels: Record<string, string>) => one({ labels, fingerprint: undefined }).fingerprint
  t.match(of({ a: '1', b: '2' }), /^[0-9a-f]{32}$/)
  t.equal(of({ a: '1', b: '2' }), of({ b: '2', a: '1' }))
  const others: Record<string, string>[] = [{}, { a: '1' }, { a: '1', b: '3' }, { a: '12' }, { 'a,1': '2' }]
  for (const other of others) t.not(of({ a: '1', b: '2' }), of(other))
})

test('an alert that is told of twice at once counts once: its end, else what was said last', async (t) => {
  const told = alert()
  const [firing, renamed, resolved] = [told, { ...told, annotations: { summary: 'later' } }, { ...told, status: 'resolved' as const, endsAt: ENDED }]
  t.match(receivedOf([firing, renamed]), [{ summary: 'later' }])
  t.match(receivedOf([firing, resolved, renamed]), [{ status: 'resolved', summary: 'One request in ten fails' }])
  t.equal(receivedOf([firing, { ...told, startsAt: ENDED }, alert()]).length, 3)
})

test('foreign text is bounded, whole, and in one line where it has to be', async (t) => {
  const long = 'x'.repeat(10_000)
  const bounded = one({ annotations: { summary: long, description: long } }, { alertname: long, severity: long, path: long })
  t.same([bounded.name, bounded.severity, bounded.summary, bounded.description, bounded.labels.path].map((text) => text?.length), [200, 40, 300, 4000, 300])
  const hostile = one({ annotations: { summary: ' a\r\n\u2028\u001b[31mb\u202ec\0 ' } }, { alertname: '\n', severity: '\u2029', empty: '' })
  t.match(hostile, { name: 'unnamed', severity: 'none', summary: 'a [31mb c', labels: { empty: '' } })
  t.equal(one({}, { alertname: `${'x'.repeat(199)}\u{1f600}` }).name, `${'x'.repeat(199)}\ufffd`)
})

test('a message has a line for each alert, twenty at most, and no markup of others', async (t) => {
  t.equal(textOf([one({}, { alertname: 'A' }), one({ status: 'resolved', annotations: {} }, { alertname: 'B' })]), '[critical] A: One request in ten fails\n[resolved] B')
  t.equal(textOf([one({ annotations: { summary: '<!channel> & <https://evil.example|here>' } }, { alertname: 'A' })]), '[critical] A: &lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;')
  const runbook = { annotations: { runbook_url: 'https://x.example/book#page' } }
  t.equal(textOf([one(runbook, { alertname: 'A' }), one({ ...runbook, status: 'resolved' }, { alertname: 'A' })]), '[critical] A https://x.example/book#page\n[resolved] A')
  const lines = textOf(receivedOf(Array.from({ length: 1000 }, () => alert()))).split('\n')
  t.equal(lines.length, 21)
  t.equal(lines.at(-1), '… and 980 more')
})

test('a message is no longer than receivers take, says how much it leaves out, and calls nobody', async (t) => {
  const alerts = receivedOf(Array.from({ length: 15 }, () => alert({ annotations: { summary: 'x'.repeat(300) } })))
  const text = textOf(alerts, 7)
  const lines = text.split('\n')
  t.ok(text.length <= 2000)
  t.equal(lines.length, 7)
  t.equal(lines.at(-1), '… and 16 more', 'those among them that Alertmanager left out')
  t.equal(textOf([one({ annotations: { summary: 'y'.repeat(300), runbook_url: 'z'.repeat(300) } }, { alertname: '&'.repeat(400) })]).split('\n').length, 1, 'at least one')
  t.match(textOf([one({ annotations: { summary: '@channel, @HERE, @all and @everyone, not @hereby or ada@all.example' } })]), ': @\u200bchannel, @\u200bHERE, @\u200ball and @\u200beveryone, not @hereby or ada@\u200ball.example')
})

import { test } from 'tap'
import { plot, type Series } from '../../../plugins/status-page/plot.ts'
import { latency, rate } from '../../../plugins/status-page/words.ts'

type Shape = Parameters<typeof plot>[0]['series'][number]['shape']

const draw = (shape: Shape, values: Series, { floor = 1, quantity = rate } = {}) =>
  String(plot({ label: 'Requests', quantity, floor, from: '1 min ago', series: [{ name: 'all', shape, values }] }))
const pathsOf = (text: string, name: string) => [...text.matchAll(new RegExp(`<path class="${name}" d="([^"]*)"/>`, 'g'))].map(([, path]) => path)
const scaleOf = (text: string) => [...text.matchAll(/<li>([^<]*)<\/li>/g)].map(([, label]) => label!.replace('\u00a0', ' '))

test('where nothing is known nothing is drawn, and said so', async (t) => {
  for (const shape of ['area', 'line', 'dashes', 'bars'] as const) {
    const text = draw(shape, [undefined, undefined])
    t.match(text, 'Nothing to show')
    t.match(text, 'aria-label="Requests: all: nothing to show."')
    t.match(text, /viewBox="0 0 2 100"/)
    t.notMatch(text, /NaN|Infinity|undefined/)
    for (const name of ['area', 'line', 'line dashes', 'dot', 'bars']) for (const path of pathsOf(text, name)) t.equal(path, '', `${shape} ${name}`)
  }
})

test('a line goes through its points, and the latest is marked', async (t) => {
  const text = draw('line', [0, 1, 2, 0.5])
  t.same(pathsOf(text, 'line'), ['M0.5 100L1.5 50L2.5 0L3.5 75'])
  t.same(pathsOf(text, 'dot'), ['M3.5 75h0'])
  t.match(text, 'aria-label="Requests: all last 0.5/s, at least 0/s, at most 2/s."')
  t.notMatch(text, 'Nothing to show')
})

test('a gap breaks the line, and a value alone is a dot', async (t) => {
  const text = draw('line', [1, 1, undefined, 1, undefined, 1, 1, undefined])
  t.same(pathsOf(text, 'line'), ['M0.5 0L1.5 0M3.5 0M5.5 0L6.5 0'])
  t.same(pathsOf(text, 'dot'), ['M3.5 0h0'])
})

test('one point is a dot', async (t) => {
  t.same(pathsOf(draw('dashes', [undefined, 1]), 'dot'), ['M1.5 0h0'])
})

test('an area stands on the base, once for each run', async (t) => {
  t.same(pathsOf(draw('area', [1, 0.5, undefined, 1]), 'area'), ['M0 100V0L0.5 0L1.5 50H2V100ZM3 100V0L3.5 0H4V100Z'])
})

test('a bar is there where something is', async (t) => {
  t.same(pathsOf(draw('bars', [undefined, 0, 0.5]), 'bars'), ['M2.1 100V50h.8V100Z'])
})

test('the scale is round, begins at zero and has room for all', async (t) => {
  const table: [most: number, floor: number, scale: string[]][] = [
    [0, 1, ['1/s', '0.5/s', '0/s']], [1, 1, ['1/s', '0.5/s', '0/s']], [1.01, 1, ['2/s', '1/s', '0/s']], [2.1, 1, ['5/s', '2.5/s', '0/s']],
    [5.1, 1, ['10/s', '5/s', '0/s']], [99, 1, ['100/s', '50/s', '0/s']], [0.03, 0.01, ['0.05/s', '0.025/s', '0/s']], [0.6, 0.01, ['1/s', '0.5/s', '0/s']], [12_345, 1, ['20,000/s', '10,000/s', '0/s']]
  ]
  for (const [most, floor, scale] of table) t.same(scaleOf(draw('line', [most], { floor })), scale, String(most))
  t.same(scaleOf(draw('line', [1500], { quantity: latency })), ['2 s', '1 s', '0 ms'])
})

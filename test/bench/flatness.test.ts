import { test } from 'tap'
import { judge } from './flatness.ts'

const soak = ({ heapMb, rssMb = () => 150 }: { heapMb: (minute: number) => number, rssMb?: (minute: number) => number }) =>
  judge(Array.from({ length: 10 }, (_, i) => i + 1).map((minute) => ({ minute, rssBytes: rssMb(minute) * 2 ** 20, heapBytes: heapMb(minute) * 2 ** 20 })))

test('memory is flat where it comes and goes about the same level', async (t) => {
  const { isFlat, heapPerMinute, rss } = soak({ heapMb: (minute) => 60 + Math.abs(minute - 6.5) % 2 })
  t.same({ isFlat, rss }, { isFlat: true, rss: 1 })
  t.ok(Math.abs(heapPerMinute) < 0.001)
})

test('what grows in the first three tenths, while all warms up, is not held against it', async (t) => {
  t.equal(soak({ heapMb: (minute) => Math.min(60, 20 * minute), rssMb: (minute) => Math.min(150, 50 * minute) }).isFlat, true)
  t.equal(soak({ heapMb: (minute) => Math.min(60, 15 * minute) }).isFlat, false)
})

test('a heap that grows by more than 1 % a minute is not flat', async (t) => {
  t.match(soak({ heapMb: (minute) => 60 + 0.5 * minute }), { isFlat: true })
  const { isFlat, heapPerMinute } = soak({ heapMb: (minute) => 60 + minute })
  t.equal(isFlat, false)
  t.ok(heapPerMinute > 0.01 && heapPerMinute < 0.02)
})

test('nor is an RSS that grows by more than a tenth', async (t) => {
  t.equal(soak({ heapMb: () => 60, rssMb: (minute) => 150 + 2 * minute }).isFlat, true)
  t.equal(soak({ heapMb: () => 60, rssMb: (minute) => 150 + 3 * minute }).isFlat, false)
})

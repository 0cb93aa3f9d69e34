/** What a process takes at a minute; the heap as it is after a collection of garbage. */
export type Moment = { minute: number, rssBytes: number, heapBytes: number }

/** Of the moments, at which caches are filled and the code is compiled. */
const SETTLED_AFTER = 0.3
const MOST_HEAP_PER_MINUTE = 0.01
const MOST_RSS = 1.1

/** Whether memory grows once all is warm: the heap by less than 1 % a minute, by least squares, and RSS by a tenth at most. */
export function judge (moments: Moment[]) {
  const settled = moments.slice(Math.ceil(moments.length * SETTLED_AFTER) - 1)
  const heaps = settled.map(({ heapBytes }) => heapBytes)
  const heapPerMinute = slope(settled.map(({ minute }) => minute), heaps) / mean(heaps)
  const rss = settled.at(-1)!.rssBytes / settled[0]!.rssBytes
  return { heapPerMinute, rss, isFlat: heapPerMinute < MOST_HEAP_PER_MINUTE && rss <= MOST_RSS }
}

/** Of the straight line with the least squares (ordinary linear regression). */
function slope (xs: number[], ys: number[]) {
  const [x0, y0] = [mean(xs), mean(ys)]
  return sum(xs.map((x, i) => (x - x0) * (ys[i]! - y0))) / sum(xs.map((x) => (x - x0) ** 2))
}

const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)
const mean = (numbers: number[]) => sum(numbers) / numbers.length

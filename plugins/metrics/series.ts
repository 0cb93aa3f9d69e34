import { Counter, Histogram, type CounterConfiguration, type HistogramConfiguration } from '@prometheus-io/client'

type Labels = Record<string, string>
type Buckets = { labels: Labels, counts: Float64Array, sum: number }

/**
 * A counter and a histogram whose series are held by those who count, who then add to plain numbers: the library looks the labels
 * up for each observation, which takes as long as all other work of ours for a small request.
 */
export class SeriesCounter extends Counter<string> {
  #series: { labels: Labels, count: number }[] = []

  constructor (options: CounterConfiguration<string>) {
    super({ ...options, collect: () => this.#collect() })
  }

  series (labels: Labels) {
    const series = { labels, count: 0 }
    this.#series.push(series)
    return () => { series.count++ }
  }

  #collect () {
    this.reset()
    for (const { labels, count } of this.#series) this.inc(labels, count)
  }
}

export class SeriesHistogram extends Histogram<string> {
  #series: Buckets[] = []
  #bounds: number[]
  #what: { name: string, help: string }

  constructor (options: HistogramConfiguration<string> & { buckets: number[] }) {
    super(options)
    this.#what = { name: options.name, help: options.help }
    this.#bounds = options.buckets
  }

  series (labels: Labels) {
    const bounds = this.#bounds
    const counts = new Float64Array(bounds.length + 1)
    const series = { labels, counts, sum: 0 }
    this.#series.push(series)
    return (value: number) => {
      let i = 0
      while (i < bounds.length && value > bounds[i]!) i++
      counts[i]!++
      series.sum += value
    }
  }

  /** What the library makes the text of. */
  async getForPromString () {
    return { ...this.#what, type: 'histogram', aggregator: 'sum', values: this.#series.flatMap((series) => this.#export(series)) }
  }

  // As Prometheus has it each bucket holds those below it too.
  #export ({ labels: sharedLabels, counts, sum }: Buckets) {
    const { name } = this.#what
    let count = 0
    const buckets = [...this.#bounds, '+Inf'].map((le, i) => {
      count += counts[i]!
      return { labels: { le }, sharedLabels, value: count, metricName: `${name}_bucket` }
    })
    return [...buckets, { labels: {}, sharedLabels, value: sum, metricName: `${name}_sum` }, { labels: {}, sharedLabels, value: count, metricName: `${name}_count` }]
  }
}

const SELECTOR = /([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}/g
const MATCHER = /(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g
const GROUPING = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g
const NAME = /[a-zA-Z_:][\w:]*\b(?!\s*\()/g
const KEYWORDS = new Set(['and', 'or', 'unless', 'bool', 'offset'])

type Matcher = { metric: string, label: string, operator: string, value: string }

/** The metrics that an expression of PromQL reads. */
export function metricsIn (expr: string) {
  const bare = expr.replace(/\{[^}]*\}|\[[^\]]*\]|"[^"]*"/g, ' ').replace(GROUPING, ' ')
  return [...new Set(bare.match(NAME))].filter((name) => !KEYWORDS.has(name))
}

export function matchersIn (expr: string): Matcher[] {
  return Array.from(expr.matchAll(SELECTOR), ([, metric, inner]) => Array.from(inner!.matchAll(MATCHER), ([, label, operator, value]) => (
    { metric: metric!, label: label!, operator: operator!, value: value! }
  ))).flat()
}

/** The labels that it groups or joins by. */
export function groupingsIn (expr: string) {
  return Array.from(expr.matchAll(GROUPING), ([, inner]) => inner!.split(',').map((label) => label.trim()).filter(Boolean)).flat()
}

export type Samples = Map<string, Map<string, Set<string>>>

/** What Prometheus' text format tells: of each name the labels, and of each label its values. */
export function samplesIn (text: string): Samples {
  const samples: Samples = new Map()
  for (const line of text.split('\n')) {
    const [, name, inner = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? []
    if (!name) continue
    const labels = samples.get(name) ?? new Map<string, Set<string>>()
    samples.set(name, labels)
    for (const { label, value } of matchersIn(`${name}{${inner}}`)) labels.set(label, (labels.get(label) ?? new Set()).add(value))
  }
  return samples
}

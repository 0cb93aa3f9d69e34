const FAMILY_OF_COUNTER = /^# (HELP|TYPE) (\w+)_total /gm
const BLANK_LINES = /\n{2,}/g

/**
 * Prometheus' text format as OpenMetrics 1.0, where a counter's family is called without `_total` and the text says where it ends.
 * The client library can write it too, but then renames the counters for good.
 */
export function asOpenMetrics (text: string) {
  return `${text.replace(FAMILY_OF_COUNTER, '# $1 $2 ').replace(BLANK_LINES, '\n').trimEnd()}\n# EOF\n`
}

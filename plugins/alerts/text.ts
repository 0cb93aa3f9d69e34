import type { Received } from './received.ts'

const MOST_LINES = 20
// Discord takes no more.
const LONGEST = 2000
const ROOM_FOR_REST = 30
// Mattermost and Discord would call everybody.
const CALLS = /@(?=(all|channel|everyone|here)\b)/gi
const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }

/** One message for all alerts of a notification, as Slack takes it: a line each. */
export function textOf (alerts: Received[], truncated = 0) {
  const lines: string[] = []
  let length = 0
  for (const line of alerts.slice(0, MOST_LINES).map(lineOf)) {
    length += line.length + 1
    if (lines.length > 0 && length > LONGEST - ROOM_FOR_REST) break
    lines.push(line)
  }
  const rest = alerts.length - lines.length + truncated
  return [...lines, ...rest > 0 ? [`… and ${rest} more`] : []].join('\n')
}

function lineOf ({ status, severity, name, summary, runbook }: Received) {
  const isOver = status === 'resolved'
  return escaped(`[${isOver ? status : severity}] ${name}${summary ? `: ${summary}` : ''}${runbook && !isOver ? ` ${runbook}` : ''}`)
}

// Between < and > Slack would see links, and calls to everybody in the channel.
const escaped = (text: string) => text.replaceAll(/[&<>]/g, (character) => ENTITIES[character]!).replace(CALLS, '@\u200b')

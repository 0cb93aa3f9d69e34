import type { Received } from './received.ts'

const MOST_LINES = 20
const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }

/** One message for all alerts of a notification, as Slack takes it: a line each. */
export function textOf (alerts: Received[]) {
  const lines = alerts.slice(0, MOST_LINES).map(lineOf)
  const rest = alerts.length - lines.length
  return [...lines, ...rest > 0 ? [`… and ${rest} more`] : []].join('\n')
}

function lineOf ({ status, severity, name, summary, runbook }: Received) {
  const isOver = status === 'resolved'
  return escaped(`[${isOver ? status : severity}] ${name}${summary ? `: ${summary}` : ''}${runbook && !isOver ? ` ${runbook}` : ''}`)
}

// Between < and > Slack would see links, and calls to everybody in the channel.
const escaped = (text: string) => text.replaceAll(/[&<>]/g, (character) => ENTITIES[character]!)

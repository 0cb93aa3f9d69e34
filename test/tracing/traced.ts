import { randomBytes } from 'node:crypto'
import { settings } from '../helper.ts'
import { ready, start } from '../processes.ts'
import { startCollector } from './collector.ts'
import type { Test } from 'tap'

type Env = Record<string, string>
type Request = { method?: string, body?: object | undefined, headers?: Record<string, string>, flags?: string }

export const CALLER = '00f067aa0ba902b7'
export const env = { ...settings, LOG_LEVEL: 'info', PORT: '0', OTEL_BSP_SCHEDULE_DELAY: '50' }

/** A server of ours that traces, and the collector it sends its spans to. */
export async function startTraced (t: Test, changes: Env = {}, file = 'server.ts') {
  const collector = await startCollector(t)
  const server = start(t, file, [], { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...changes })
  return { collector, server, url: await ready(server) }
}

/** A request of a caller that traces: what was answered, and the trace it is part of. */
export async function ask (url: string, { method = 'GET', body, headers, flags = '01' }: Request = {}) {
  const traceId = randomBytes(16).toString('hex')
  const response = await fetch(url, {
    method,
    headers: { traceparent: `00-${traceId}-${CALLER}-${flags}`, ...body && { 'content-type': 'application/json' }, ...headers },
    body: body && JSON.stringify(body)
  })
  return { traceId, status: response.status, text: await response.text() }
}

/** The line of a request in the log, once it is written. */
export function lineOf (stdout: string, traceId: string) {
  const line = stdout.split('\n').find((line) => line.includes(`"trace_id":"${traceId}"`))
  return line && JSON.parse(line)
}

import { symbols, type Logger } from 'pino'

/** Who logs it: `trace_id` and `span_id` where the request is part of a trace. */
export type Ids = { requestId: string, correlationId: string, trace_id?: string | undefined, span_id?: string | undefined }
export type RequestLine = { method: string, route: string | null, statusCode: number, durationMs: number, userId: string | undefined }

/** Of pino, which shows it to integrations that have to be quick. */
type Inside = { [symbols.streamSym]: { write: (line: string) => void }, [symbols.chindingsSym]: string }

// There are as many as routes.
const quoted = new Map<string | null, string>()

/**
 * The line of a request that was answered, letter for letter as pino writes it. Pino walks through its fields, which takes it longer
 * than all else of a small request but for its sending. Nothing but a route needs escaping: ids are made of letters, digits and signs
 * that are none of JSON's, and methods are those that Node knows.
 */
export function writeRequestLine (log: Logger, { requestId, correlationId, trace_id: traceId, span_id: spanId }: Ids, { method, route, statusCode, durationMs, userId }: RequestLine) {
  if (!log.isLevelEnabled('info')) return
  const trace = (traceId ? `,"trace_id":"${traceId}"` : '') + (spanId ? `,"span_id":"${spanId}"` : '')
  const user = userId ? `,"userId":"${userId}"` : ''
  const { [symbols.streamSym]: stream, [symbols.chindingsSym]: constant } = log as unknown as Inside
  stream.write(`{"level":30,"time":${Date.now()}${constant},"requestId":"${requestId}","correlationId":"${correlationId}"${trace},"method":"${method}","route":${quote(route)},"statusCode":${statusCode},"durationMs":${durationMs}${user},"msg":"request"}\n`)
}

function quote (route: string | null) {
  const known = quoted.get(route)
  if (known) return known
  const text = JSON.stringify(route)
  quoted.set(route, text)
  return text
}

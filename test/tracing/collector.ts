import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { eventually } from '../eventually.ts'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

type Value = { stringValue?: string, intValue?: number, doubleValue?: number, boolValue?: boolean }
type Attribute = { key: string, value: Value }
type OtlpEvent = { name: string, attributes: Attribute[] }
type OtlpSpan = { traceId: string, spanId: string, parentSpanId?: string, name: string, kind: number, attributes: Attribute[], events: OtlpEvent[], status: { code?: number, message?: string } }
type Otlp = { resourceSpans: { resource: { attributes: Attribute[] }, scopeSpans: { scope: { name: string }, spans: OtlpSpan[] }[] }[] }

export type SeenSpan = Omit<OtlpSpan, 'attributes' | 'events'> & {
  scope: string
  resource: Record<string, unknown>
  attributes: Record<string, unknown>
  events: { name: string, attributes: Record<string, unknown> }[]
}
type Mode = 'take' | 'fail' | 'be silent'

export const SERVER_SPAN = 2

/** A collector of OpenTelemetry's, as far as it takes spans as JSON over HTTP. */
export async function startCollector (t: Test) {
  const bodies: string[] = []
  const others: IncomingHttpHeaders[] = []
  let mode: Mode = 'take'
  let calls = 0
  const server = createServer(async (request, response) => {
    calls++
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    if (request.url !== '/v1/traces') others.push(request.headers)
    else if (mode === 'take') bodies.push(Buffer.concat(chunks).toString())
    answer(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  t.teardown(close)

  return {
    bodies,
    /** The headers of requests that bring no spans. */
    others,
    url: `http://127.0.0.1:${port}`,
    get calls () { return calls },
    get spans () { return bodies.flatMap((body) => spansOf(JSON.parse(body))) },
    set (next: Mode) { mode = next },
    close,

    /** The spans of a trace, once so many requests of it have ended. */
    async trace (traceId: string, requests = 1) {
      const inTrace = () => this.spans.filter((span) => span.traceId === traceId)
      await eventually(() => inTrace().filter(({ kind }) => kind === SERVER_SPAN).length >= requests)
      return inTrace()
    }
  }

  async function close () {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }

  function answer (response: ServerResponse) {
    if (mode === 'take') response.setHeader('content-type', 'application/json').end('{}')
    if (mode === 'fail') response.writeHead(500).end()
  }
}

function spansOf ({ resourceSpans }: Otlp): SeenSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => scopeSpans.flatMap(({ scope, spans }) => spans.map((span) => ({
    ...span,
    scope: scope.name,
    resource: plain(resource.attributes),
    attributes: plain(span.attributes),
    events: span.events.map(({ name, attributes }) => ({ name, attributes: plain(attributes) }))
  }))))
}

const plain = (attributes: Attribute[]) => Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

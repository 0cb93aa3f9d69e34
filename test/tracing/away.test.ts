import { performance } from 'node:perf_hooks'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { bearer, PASSWORD } from '../helper.ts'
import { ready, start } from '../processes.ts'
import { startCollector } from './collector.ts'
import { ask, env, lineOf, startTraced } from './traced.ts'
import type { Test } from 'tap'

const REQUESTS = 200
const LOST = /"level":40.*"msg":"the collector takes no spans, they are lost"/g
const account = (name: string) => ({ email: `${name}@example.com`, password: PASSWORD })

for (const mode of ['refuses', 'fails', 'is silent'] as const) {
  test(`a collector that ${mode} costs nobody anything: no answer, no time, one line a minute, and a second at the end`, async (t) => {
    const collector = await startCollector(t)
    collector.set(mode === 'fails' ? 'fail' : 'be silent')
    if (mode === 'refuses') await collector.close()
    const server = start(t, 'server.ts', [], { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_TIMEOUT: '300' })
    const url = await ready(server)
    const { accessToken } = JSON.parse((await ask(`${url}/auth/register`, { method: 'POST', body: account(mode.replace(' ', '-')) })).text)
    const tookMs = []
    for (let i = 0; i < REQUESTS; i++) {
      const startedAt = performance.now()
      t.equal((await ask(`${url}/me`, { headers: bearer(accessToken) })).status, 200)
      tookMs.push(performance.now() - startedAt)
    }
    const medianMs = Math.round(tookMs.sort((a, b) => a - b)[REQUESTS / 2]!)
    t.ok(medianMs < 100, `median ${medianMs} ms`)
    await eventually(() => server.stdout.match(LOST) !== null)
    if (mode !== 'refuses') {
      const { calls } = collector
      await eventually(async () => (await ask(`${url}/me`)).status === 401 && collector.calls > calls + 1)
    }
    t.equal(server.stdout.match(LOST)?.length, 1)
    t.notMatch(server.stdout, /"level":[56]0/)
    await stops(t, server)
  })
}

test('the address of the collector is read as it was checked', async (t) => {
  const collector = await startCollector(t)
  const url = await ready(start(t, 'server.ts', [], { ...env, OTEL_EXPORTER_OTLP_ENDPOINT: ` ${collector.url} `, OTEL_PROPAGATORS: ' ' }))
  const { traceId } = await ask(`${url}/me`)
  t.ok((await collector.trace(traceId)).length > 0)
})

test('spans of what was in flight at the end are sent before it', async (t) => {
  const { collector, server, url } = await startTraced(t, { OTEL_BSP_SCHEDULE_DELAY: '60000', ARGON2_MEMORY: '19456', ARGON2_TIME: '20' })
  const registering = ask(`${url}/auth/register`, { method: 'POST', body: account('in-flight') })
  t.equal((await ask(`${url}/status`)).status, 200)
  server.child.kill('SIGTERM')
  const { traceId, status } = await registering
  t.equal(status, 201)
  t.match(await server.ended, { code: 0, stderr: '' })
  t.ok((await collector.trace(traceId)).some(({ name }) => name === 'COMMIT'))
  t.ok(server.stdout.indexOf('stopping') < server.stdout.indexOf(traceId), 'it was answered after the signal')
  t.match(lineOf(server.stdout, traceId), { statusCode: 201 })
})

test('a collector that would take forever is not waited for at the end', async (t) => {
  const { collector, server, url } = await startTraced(t, { OTEL_BSP_SCHEDULE_DELAY: '60000', OTEL_EXPORTER_OTLP_TIMEOUT: '60000' })
  collector.set('be silent')
  t.equal((await ask(`${url}/me`)).status, 401)
  await stops(t, server)
  t.equal(collector.calls, 1, 'it was told')
})

async function stops (t: Test, server: ReturnType<typeof start>) {
  const stoppedAt = performance.now()
  server.child.kill('SIGTERM')
  t.match(await server.ended, { code: 0, signal: null, stderr: '' })
  const endedMs = Math.round(performance.now() - stoppedAt)
  t.ok(endedMs < 3000, `ended after ${endedMs} ms`)
}

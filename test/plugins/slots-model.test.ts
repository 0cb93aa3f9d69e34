import { mock } from 'node:test'
import { setImmediate as settled } from 'node:timers/promises'
import fc from 'fast-check'
import { test } from 'tap'
import { start } from './slots-in-time.ts'

const PATIENCE_MS = 1000

test('whatever happens in whatever order, a few lines say what is to be', async (t) => {
  const steps = fc.array(fc.record({ act: fc.constantFrom('enter', 'enter', 'enter', 'end', 'fail', 'abort', 'wait'), nth: fc.nat(20), isImpatient: fc.boolean() }), { maxLength: 60, size: 'max' })
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 4 }), steps, async (count, steps) => {
    const { slots, begun, pass, end, fail } = start(t, count)
    const model = { running: [] as string[], waiting: [] as { name: string, isImpatient: boolean }[], begun: [] as string[] }
    const requests = new Map<string, AbortController>()
    for (const { act, nth, isImpatient } of steps) {
      const running = model.running[nth % model.running.length]
      const waiting = model.waiting[nth % model.waiting.length]
      if (act === 'enter') {
        const [name, request] = [`work ${requests.size}`, new AbortController()]
        requests.set(name, request)
        pass(name, { signal: request.signal, patienceMs: isImpatient ? PATIENCE_MS : undefined })
        model.waiting.push({ name, isImpatient })
      } else if (act === 'wait') {
        mock.timers.tick(PATIENCE_MS)
        model.waiting = model.waiting.filter(({ isImpatient }) => !isImpatient)
      } else if (act === 'abort' && waiting) {
        requests.get(waiting.name)!.abort()
        model.waiting = model.waiting.filter((other) => other !== waiting)
      } else if (act !== 'abort' && running) {
        act === 'end' ? end(running) : fail(running)
        model.running = model.running.filter((other) => other !== running)
      }
      while (model.running.length < count && model.waiting.length > 0) {
        const { name } = model.waiting.shift()!
        model.running.push(name)
        model.begun.push(name)
      }
      await settled()
      const is = { begun, taken: slots.taken, waiting: slots.waiting }
      const shouldBe = { begun: model.begun, taken: model.running.length, waiting: model.waiting.length }
      if (JSON.stringify(is) !== JSON.stringify(shouldBe)) throw new Error(`${JSON.stringify(is)} instead of ${JSON.stringify(shouldBe)}`)
    }
  }), { numRuns: 100 })
})

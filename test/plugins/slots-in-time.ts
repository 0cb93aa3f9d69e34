import { mock } from 'node:test'
import { createSlots } from '../../plugins/slots.ts'
import type { Test } from 'tap'

type Options = { signal?: AbortSignal, patienceMs?: number }

/** Slots, and works in them that end when they are told to. Time goes on when it is told to. */
export function start (t: Test, count: number) {
  mock.timers.reset()
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let deadline: AbortSignal | undefined
  const slots = createSlots(count, () => deadline)
  const begun: string[] = []
  const works = new Map<string, PromiseWithResolvers<string>>()

  return {
    slots,
    begun,
    end: (name: string) => works.get(name)!.resolve(name),
    fail: (name: string) => works.get(name)!.reject(new Error(name)),
    pass (name: string, { signal, patienceMs }: Options = {}) {
      deadline = signal
      const pass = slots.pass(() => {
        begun.push(name)
        const work = Promise.withResolvers<string>()
        works.set(name, work)
        return work.promise
      }, patienceMs)
      pass.catch(() => {})      // somebody asks later
      return pass
    }
  }
}

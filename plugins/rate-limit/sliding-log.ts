import { performance } from 'node:perf_hooks'

type Slot = { id: string, takenAt: number }
type Slots = { slots: Slot[], windowMs: number }
/** `current` is how many slots are taken, this one included, or max + 1 when refused; `ttl` is the time until a slot frees, in ms. */
export type Decision = { current: number, ttl: number }
export type Callback = (error: Error | null, decision?: Decision) => void

/**
 * An exact sliding log: at most `max` slots per key in any window, and the n-th slot frees exactly one window after it was
 * taken. A refused request takes none. Keys have the form `{dimension:value}|slotId`, so that one slot can be given back.
 */
export interface Log {
  incr: (key: string, done: Callback, windowMs: number, max: number) => void
  /** What `incr` would answer, without taking a slot. */
  read: (key: string, done: Callback, windowMs: number, max: number) => void
  /** Gives one slot back. */
  refund: (key: string) => void
  /** Forgets all slots of the key. */
  clear: (key: string) => void
}

const MOST_KEYS = 100_000

/** The log of this process, in memory. */
export class SlidingLog implements Log {
  #logs = new Map<string, Slots>()
  #now: () => number

  constructor (now: () => number = () => performance.now()) {
    this.#now = now
  }

  get size () { return this.#logs.size }

  incr (key: string, done: Callback, windowMs: number, max: number) {
    const [name, id] = split(key)
    const log = this.#logs.get(name) ?? { slots: [], windowMs }
    const slots = this.#live(log)
    if (slots.length >= max) {
      done(null, { current: max + 1, ttl: this.#untilFree(log) })
      return
    }
    slots.push({ id, takenAt: this.#now() })
    this.#logs.set(name, log)
    // Memory is bounded, whoever comes from however many addresses; the oldest key has had most of its window.
    if (this.#logs.size > MOST_KEYS) this.#logs.delete(this.#logs.keys().next().value!)
    done(null, { current: slots.length, ttl: this.#untilFree(log) })
  }

  read (key: string, done: Callback, windowMs: number, max: number) {
    const log = this.#logs.get(split(key)[0]) ?? { slots: [], windowMs }
    const taken = this.#live(log).length
    done(null, { current: taken >= max ? max + 1 : taken, ttl: this.#untilFree(log) })
  }

  refund (key: string) {
    const [name, id] = split(key)
    const log = this.#logs.get(name)
    if (log) log.slots = log.slots.filter((slot) => slot.id !== id)
  }

  clear (key: string) {
    this.#logs.delete(split(key)[0])
  }

  /** Drops the keys whose slots are all free again. */
  prune () {
    for (const [name, log] of this.#logs) {
      if (this.#live(log).length === 0) this.#logs.delete(name)
    }
  }

  // Slots are in the order of time, so that those that are free again come first.
  #live (log: Slots) {
    const first = log.slots.findIndex(({ takenAt }) => this.#now() - takenAt < log.windowMs)
    if (first !== 0) log.slots = first === -1 ? [] : log.slots.slice(first)
    return log.slots
  }

  #untilFree ({ slots: [oldest], windowMs }: Slots) {
    return oldest ? Math.max(0, oldest.takenAt + windowMs - this.#now()) : 0
  }
}

function split (key: string): [name: string, slotId: string] {
  const at = key.lastIndexOf('|')
  return [key.slice(0, at), key.slice(at + 1)]
}

import { performance } from 'node:perf_hooks'
import { SlotTable } from './slot-table.ts'

/** `current` is how many slots are taken, this one included, or max + 1 when refused; `ttl` is the time until a slot frees, in ms. */
export type Decision = { current: number, ttl: number }

/**
 * An exact sliding log: at most `max` slots per key in any window, and the n-th slot frees exactly one window after it was
 * taken. A refused request takes none. Keys have the form `{dimension:value}|slotId`, so that one slot can be given back; the id begins with a number that none of this process's other slots has.
 */
export interface Log {
  take: (key: string, windowMs: number, max: number) => Decision | Promise<Decision>
  /** What `take` would answer, without taking a slot. */
  look: (key: string, windowMs: number, max: number) => Decision | Promise<Decision>
  /** Gives one slot back. */
  refund: (key: string) => void
  /** Forgets all slots of the key. */
  clear: (key: string) => void
}

/** The log of this process, in memory. */
export class SlidingLog implements Log {
  // One a dimension: whoever floods one of them makes no room for himself in another.
  #tables = new Map<string, SlotTable>()
  #now: () => number

  constructor (now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** How many slots are kept. */
  get size () { return [...this.#tables.values()].reduce((sum, { size }) => sum + size, 0) }

  take (key: string, windowMs: number, max: number): Decision {
    const [name, id, table] = this.#find(key)
    const now = this.#now()
    const taken = table.taken(name, now)
    const current = (taken?.size ?? 0) + 1
    const row = current <= max ? table.add(name, id, now, windowMs) : taken!
    return { current, ttl: row.untilFree(now) }
  }

  look (key: string, windowMs: number, max: number): Decision {
    const [name, , table] = this.#find(key)
    const now = this.#now()
    const taken = table.taken(name, now)
    const current = taken?.size ?? 0
    return { current: current < max ? current : max + 1, ttl: taken?.untilFree(now) ?? 0 }
  }

  refund (key: string) {
    const [name, id, table] = this.#find(key)
    table.remove(name, id)
  }

  clear (key: string) {
    const [name, , table] = this.#find(key)
    table.clear(name)
  }

  /** Drops the slots that are free again. */
  prune () {
    for (const table of this.#tables.values()) table.prune(this.#now())
  }

  #find (key: string): [name: string, id: number, table: SlotTable] {
    const dimension = key.slice(0, key.indexOf(':'))
    const table = this.#tables.get(dimension) ?? new SlotTable()
    this.#tables.set(dimension, table)
    const at = key.lastIndexOf('|')
    return [key.slice(0, at), Number.parseInt(key.slice(at + 1), 10), table]
  }
}

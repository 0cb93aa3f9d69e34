import { performance } from 'node:perf_hooks'
import { SlotTable, type Decision } from './slot-table.ts'

/** A slot of whoever `value` names in a dimension; no other slot of this process has its id. */
export type Slot = { dimension: string, value: string, id: number }

/**
 * An exact sliding log: at most `max` slots of one value in any window, and the n-th slot frees exactly one window after it was
 * taken. A refused request takes none.
 */
export interface Log {
  take: (slot: Slot, windowMs: number, max: number) => Decision | Promise<Decision>
  /** What `take` would answer, without taking the slot. */
  look: (slot: Slot, windowMs: number, max: number) => Decision | Promise<Decision>
  /** Gives one slot back. */
  refund: (slot: Slot) => void
  /** Forgets all slots of this value. */
  clear: (slot: Slot) => void
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

  take ({ dimension, value, id }: Slot, windowMs: number, max: number) {
    return this.#table(dimension).take(value, id, this.#now(), windowMs, max)
  }

  look ({ dimension, value }: Slot, windowMs: number, max: number) {
    return this.#table(dimension).look(value, this.#now(), max)
  }

  refund ({ dimension, value, id }: Slot) {
    this.#table(dimension).remove(value, id)
  }

  clear ({ dimension, value }: Slot) {
    this.#table(dimension).clear(value)
  }

  /** Drops the slots that are free again. */
  prune () {
    for (const table of this.#tables.values()) table.prune(this.#now())
  }

  #table (dimension: string) {
    const known = this.#tables.get(dimension)
    if (known) return known
    const table = new SlotTable()
    this.#tables.set(dimension, table)
    return table
  }
}

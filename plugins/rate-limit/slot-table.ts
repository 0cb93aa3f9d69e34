import { Row } from './row.ts'

/** `current` is how many slots are taken, this one included, or max + 1 when refused; `ttl` is the time until a slot frees, in ms. */
export type Decision = { current: number, ttl: number }

// A name and what it is found by take as much memory as so many slots.
const WEIGHT_OF_ROW = 20
const MOST_WEIGHT = 2_000_000

/** The slots of one dimension, by whose they are. Memory is bounded, whoever comes from however many addresses: some 40 MB. */
export class SlotTable {
  #rows = new Map<string, Row>()
  #size = 0

  /** How many slots there are, those included that are free again but not yet dropped. */
  get size () { return this.#size }

  take (value: string, id: number, now: number, windowMs: number, max: number): Decision {
    const row = this.#taken(value, now)
    const current = (row?.size ?? 0) + 1
    if (row && current > max) return { current, ttl: row.untilFree(now) }
    return { current, ttl: this.#add(value, id, now, windowMs).untilFree(now) }
  }

  look (value: string, now: number, max: number): Decision {
    const row = this.#taken(value, now)
    const current = row?.size ?? 0
    return { current: current < max ? current : max + 1, ttl: row?.untilFree(now) ?? 0 }
  }

  remove (value: string, id: number) {
    const row = this.#rows.get(value)
    if (!row) return
    this.#size -= row.remove(id)
    if (row.size === 0) this.#rows.delete(value)
  }

  clear (value: string) {
    this.#size -= this.#rows.get(value)?.size ?? 0
    this.#rows.delete(value)
  }

  /** Drops those that are free again. */
  prune (now: number) {
    for (const value of this.#rows.keys()) this.#taken(value, now)
  }

  get #weight () { return this.#size + this.#rows.size * WEIGHT_OF_ROW }

  /** The row with those that are taken at this time, if there are any. */
  #taken (value: string, now: number): Row | undefined {
    const row = this.#rows.get(value)
    if (!row) return undefined
    this.#size -= row.free(now)
    if (row.size > 0) return row
    this.#rows.delete(value)
    return undefined
  }

  #add (value: string, id: number, now: number, windowMs: number): Row {
    if (this.#weight >= MOST_WEIGHT) this.#makeRoom(now)
    this.#size++
    const known = this.#rows.get(value)
    if (known) {
      known.add(now, id)
      return known
    }
    const row = new Row(now, id, windowMs)
    this.#rows.set(value, row)
    return row
  }

  // A flood is of rows that hold little, and what it would drown holds much; of equal ones the oldest go. Half of all at once: a
  // row that is new needs the room to grow, or it would be forgotten again and again.
  #makeRoom (now: number) {
    this.prune(now)
    const rows = [...this.#rows].sort(([, one], [, other]) => one.size - other.size)
    for (const [value] of rows) if (this.#weight > MOST_WEIGHT / 2) this.clear(value)
  }
}

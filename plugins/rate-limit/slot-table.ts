import { Row } from './row.ts'

// A name and what it is found by take as much memory as so many slots.
const WEIGHT_OF_ROW = 20
const MOST_WEIGHT = 2_000_000

/** The slots of one dimension, by name. Memory is bounded, whoever comes from however many addresses: some 40 MB. */
export class SlotTable {
  #rows = new Map<string, Row>()
  #size = 0

  /** How many slots there are, those included that are free again but not yet dropped. */
  get size () { return this.#size }

  /** The row with those that are taken at this time, if there are any. */
  taken (name: string, now: number): Pick<Row, 'size' | 'untilFree'> | undefined {
    const row = this.#rows.get(name)
    return row && this.#change(name, row, () => row.free(now))
  }

  add (name: string, id: number, takenAt: number, windowMs: number) {
    if (this.#weight >= MOST_WEIGHT) this.#makeRoom(takenAt)
    this.#size++
    const known = this.#rows.get(name)
    if (known) {
      known.add(takenAt, id)
      return known
    }
    const row = new Row(takenAt, id, windowMs)
    this.#rows.set(name, row)
    return row
  }

  remove (name: string, id: number) {
    const row = this.#rows.get(name)
    if (row) this.#change(name, row, () => row.remove(id))
  }

  clear (name: string) {
    this.#size -= this.#rows.get(name)?.size ?? 0
    this.#rows.delete(name)
  }

  /** Drops those that are free again. */
  prune (now: number) {
    for (const name of this.#rows.keys()) this.taken(name, now)
  }

  get #weight () { return this.#size + this.#rows.size * WEIGHT_OF_ROW }

  #change (name: string, row: Row, change: () => void) {
    const before = row.size
    change()
    this.#size -= before - row.size
    if (row.size > 0) return row
    this.#rows.delete(name)
    return undefined
  }

  // A flood is of rows that hold little, and what it would drown holds much; of equal ones the oldest go. Half of all at once: a
  // row that is new needs the room to grow, or it would be forgotten again and again.
  #makeRoom (now: number) {
    this.prune(now)
    const rows = [...this.#rows].sort(([, one], [, other]) => one.size - other.size)
    for (const [name] of rows) if (this.#weight > MOST_WEIGHT / 2) this.clear(name)
  }
}

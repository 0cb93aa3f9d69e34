export type Slot = { key: string, takenAt: number }
type Row = { slots: Slot[], windowMs: number }

const MOST_SLOTS = 100_000

/** The slots of one dimension, by name. Memory is bounded, whoever comes from however many addresses: some 30 MB. */
export class SlotTable {
  #rows = new Map<string, Row>()
  #size = 0

  /** How many there are, those included that are free again but not yet dropped. */
  get size () { return this.#size }

  /** Those that are taken at this time, the oldest first. */
  taken (name: string, now: number): readonly Slot[] {
    const row = this.#rows.get(name)
    if (!row) return []
    // They are in the order of time, so that those that are free again come first.
    const first = row.slots.findIndex(({ takenAt }) => now - takenAt < row.windowMs)
    if (first !== 0) this.#keep(name, row, first === -1 ? [] : row.slots.slice(first))
    return row.slots
  }

  add (name: string, slot: Slot, windowMs: number) {
    if (this.#size === MOST_SLOTS) this.#makeRoom(slot.takenAt)
    const row = this.#rows.get(name)
    if (row) row.slots.push(slot)
    else this.#rows.set(name, { slots: [slot], windowMs })
    this.#size++
  }

  remove (name: string, key: string) {
    const row = this.#rows.get(name)
    if (row) this.#keep(name, row, row.slots.filter((slot) => slot.key !== key))
  }

  clear (name: string) {
    const row = this.#rows.get(name)
    if (row) this.#keep(name, row, [])
  }

  /** Drops those that are free again. */
  prune (now: number) {
    for (const name of this.#rows.keys()) this.taken(name, now)
  }

  #keep (name: string, row: Row, slots: Slot[]) {
    this.#size -= row.slots.length - slots.length
    row.slots = slots
    if (slots.length === 0) this.#rows.delete(name)
  }

  // A flood is of rows that hold little, and what it would drown holds much; of equal ones the oldest go. Half of all at once: a
  // row that is new needs the room to grow, or it would be forgotten again and again.
  #makeRoom (now: number) {
    this.prune(now)
    const rows = [...this.#rows].sort(([, one], [, other]) => one.slots.length - other.slots.length)
    for (const [name, row] of rows) if (this.#size > MOST_SLOTS / 2) this.#keep(name, row, [])
  }
}

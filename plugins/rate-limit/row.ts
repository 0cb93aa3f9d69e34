// A slot takes two places.
const TIME = 0
const ID = 1
const PLACES = 2
const FEWEST_TO_DROP = 64

/**
 * The slots of one name, the oldest first: time and id by turns in one array of numbers. An object for each would take many times
 * the memory, and the collector's time as well. Those that are free again stay in front until they are half of all.
 */
export class Row {
  readonly #windowMs: number
  readonly #slots: number[]
  #first = 0

  constructor (takenAt: number, id: number, windowMs: number) {
    this.#slots = [takenAt, id]
    this.#windowMs = windowMs
  }

  get size () { return (this.#slots.length - this.#first) / PLACES }

  /** How long it takes from `now` until the first of them frees, ms. There must be one. */
  untilFree (now: number) {
    return this.#windowMs - (now - this.#slots[this.#first + TIME]!)
  }

  add (takenAt: number, id: number) {
    this.#slots.push(takenAt, id)
  }

  /** Drops those that are free at this time, and answers how many they were. */
  free (now: number) {
    const before = this.size
    while (this.size > 0 && this.untilFree(now) <= 0) this.#first += PLACES
    const freed = before - this.size
    if (this.#first >= FEWEST_TO_DROP && this.#first * 2 >= this.#slots.length) {
      this.#slots.splice(0, this.#first)
      this.#first = 0
    }
    return freed
  }

  /** Answers how many had this id: 1 or 0. */
  remove (id: number) {
    for (let at = this.#first; at < this.#slots.length; at += PLACES) if (this.#slots[at + ID] === id) return this.#slots.splice(at, PLACES).length / PLACES
    return 0
  }
}

/** A map of the latest entries: of more than `most` the oldest goes. */
export class Recent<Key, Value> extends Map<Key, Value> {
  #most: number

  constructor (most: number) {
    super()
    this.#most = most
  }

  override set (key: Key, value: Value) {
    super.set(key, value)
    const [oldest] = this.keys()
    if (this.size > this.#most) this.delete(oldest!)
    return this
  }
}

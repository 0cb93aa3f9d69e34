import { Transform } from 'node:stream'

const A_ROW = /^ {4}(not )?ok /m

/** Tap's own words are kept from who watches the progress and the table, unless they are all there is. */
export default class Quiet extends Transform {
  tap = ''

  override _transform (chunk: Buffer, encoding: BufferEncoding, done: () => void) {
    this.tap += chunk
    done()
  }

  override _flush (done: () => void) {
    if (!A_ROW.test(this.tap)) this.push(this.tap)
    done()
  }
}

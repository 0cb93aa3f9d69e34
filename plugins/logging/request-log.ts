import { writeRequestLine, type Ids, type RequestLine } from './request-line.ts'
import type { FastifyBaseLogger } from 'fastify'
import type { Logger } from 'pino'

type Level = Exclude<typeof METHODS[number], 'silent' | 'child'>

const METHODS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent', 'child'] as const

/**
 * The log of one request, each line of which has its ids. Most requests log one line, at their end, and to make a child logger for
 * that takes longer than to write it: one is made for whoever logs anything else.
 */
export class RequestLog implements FastifyBaseLogger {
  declare fatal: FastifyBaseLogger['fatal']
  declare error: FastifyBaseLogger['error']
  declare warn: FastifyBaseLogger['warn']
  declare info: FastifyBaseLogger['info']
  declare debug: FastifyBaseLogger['debug']
  declare trace: FastifyBaseLogger['trace']
  declare silent: FastifyBaseLogger['silent']
  declare child: FastifyBaseLogger['child']
  readonly #parent: FastifyBaseLogger
  readonly #ids: Ids
  readonly #options: object
  #made: FastifyBaseLogger | undefined

  constructor (parent: FastifyBaseLogger, ids: Ids, options: object) {
    this.#parent = parent
    this.#ids = ids
    this.#options = options
  }

  get level () { return this.made.level }
  set level (level) { this.made.level = level }

  get made () {
    this.#made ??= this.#parent.child(this.#ids, this.#options)
    return this.#made
  }

  isLevelEnabled (level: Level) { return (this.#parent as Logger).isLevelEnabled(level) }

  /** The line of a request that was answered. */
  answered (line: RequestLine) {
    writeRequestLine(this.#parent as Logger, this.#ids, line)
  }

  /** Any other line, without a child logger. */
  line (level: Level, fields: object, message: string) {
    this.#parent[level]({ ...this.#ids, ...fields }, message)
  }
}

for (const method of METHODS) {
  Object.defineProperty(RequestLog.prototype, method, {
    value (this: RequestLog, ...given: unknown[]) { return (this.made[method] as (...given: unknown[]) => unknown)(...given) }
  })
}

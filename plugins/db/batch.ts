import pg, { type ClientBase, type Connection, type QueryConfig, type QueryResult, type Submittable } from 'pg'

type Done = (error: Error | null, result?: QueryResult) => void
type Heard = 'handleRowDescription' | 'handleDataRow' | 'handleCommandComplete' | 'handleReadyForQuery'
/** What pg calls of a query beside what its types tell. */
type Query = Omit<pg.Query, 'submit'> & { name: string, text: string, callback: Done, submit: (connection: Connection) => Error | null } & Record<Heard, (message: object) => void>
/** The statements that a connection has sent, and are known to it once they are parsed. */
type Memory = Connection & { submittedNamedStatements: Record<string, string> }

/**
 * Asks named statements in one transaction, that of the client or one of their own, and answers what the last one does when all is
 * done and committed. They have one Sync (PostgreSQL, Extended Query, Pipelining): PostgreSQL answers them at once, in contrast to each
 * on its own, for which both sides would wake, and after one that it refuses it skips the rest.
 */
export function askTogether (client: ClientBase, statements: QueryConfig[]): Promise<QueryResult> {
  return new Promise((resolve, reject) => {
    client.query(new Batch(statements, (error, result) => error ? reject(error) : resolve(result!)))
  })
}

class Batch implements Submittable {
  // Of a query pg notes by these two what has been parsed. Before it is sent the text is that of all of them, as a trace has it.
  name: string | undefined
  text: string
  callback: Done
  readonly queries: Query[]
  #current = 0

  constructor (statements: QueryConfig[], callback: Done) {
    this.queries = statements.map((statement) => new pg.Query(statement) as Query)
    this.text = statements.map(({ text }) => text).join('; ')
    this.callback = callback
  }

  submit (connection: Connection) {
    const unsynced: Connection = Object.create(connection, { sync: { value () {} } })
    const { stream } = connection
    stream.cork()      // one system call for all of them
    try {
      this.#goTo(0)
      for (const query of this.queries) {
        const error = query.submit(unsynced)
        if (error) throw error
      }
      connection.sync()
    } catch (error) {
      stream.destroy()      // or some of them would be done without the others
      return error
    } finally {
      stream.uncork()
    }
    return null
  }

  handleRowDescription (message: object) {
    this.#query.handleRowDescription(message)
  }

  handleDataRow (message: object) {
    this.#query.handleDataRow(message)
  }

  handleCommandComplete (message: object) {
    this.#query.handleCommandComplete(message)
    if (this.#current < this.queries.length - 1) this.#goTo(this.#current + 1)
  }

  handleReadyForQuery (connection: Connection) {
    this.#query.callback = this.callback
    this.#query.handleReadyForQuery(connection)
  }

  handleError (error: Error, connection: Memory) {
    // What comes after the one that was refused has not been parsed.
    for (const { name } of this.queries.slice(this.#current)) delete connection.submittedNamedStatements[name]
    this.callback(error)
  }

  get #query () {
    return this.queries[this.#current]!
  }

  #goTo (index: number) {
    this.#current = index
    this.name = this.#query.name
    this.text = this.#query.text
  }
}

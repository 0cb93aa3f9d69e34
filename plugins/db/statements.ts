import { hash } from 'node:crypto'
import { InternalServerError } from '../errors.ts'
import { isBroken } from './trouble.ts'
import type { PoolClient, QueryConfig, QueryResultRow } from 'pg'
import type { Signal } from '../deadline.ts'

type Statement = [text: string, values?: unknown[]]

/** SQL with parameters. Infrastructure trouble is thrown as ServiceUnavailable. */
export interface Sql {
  query: <Row extends QueryResultRow> (...statement: Statement) => Promise<Row[]>
  /** Statements that need no answer of one another, in one transaction and one round trip. Answers what the last one does. */
  batch: <Row extends QueryResultRow> (...statements: Statement[]) => Promise<Row[]>
}

/** Runs `work` between begin and commit, which is not reached when its request has ended. */
export async function transaction<Result> (client: PoolClient, signal: Signal | undefined, work: (tx: Sql) => Promise<Result>) {
  await client.query('begin')
  try {
    const result = await work({
      query: (...statement) => ask(client, signal, statement),
      batch: async (...statements) => (await askAtOnce(client, signal, statements.map(prepared))).at(-1)!.rows
    })
    signal?.throwIfAborted()
    const { command } = await client.query('commit')
    if (command !== 'COMMIT') throw new InternalServerError({ cause: new Error('the work went on after one of its statements had failed') })
    return result
  } catch (error) {
    if (!isBroken(error)) await client.query('rollback')
    throw error
  }
}

export async function ask<Row extends QueryResultRow> (client: PoolClient, signal: Signal | undefined, statement: Statement) {
  signal?.throwIfAborted()
  const { rows } = await client.query<Row>(prepared(statement))
  return rows
}

/** A transaction that is sent as a whole. */
export async function askAsOne (client: PoolClient, signal: Signal | undefined, statements: Statement[]) {
  const answers = await askAtOnce(client, signal, ['begin', ...statements.map(prepared), 'commit'])
  return answers.at(-2)!.rows
}

/** None waits for the answer of another, and after one that PostgreSQL refuses it does no more, nor does it commit. */
async function askAtOnce (client: PoolClient, signal: Signal | undefined, queries: (string | QueryConfig)[]) {
  signal?.throwIfAborted()
  const { stream } = client.connection
  stream.cork()      // one system call for all of them
  let asked
  try {
    asked = queries.map((query) => client.query(query))
  } finally {
    stream.uncork()
  }
  const outcomes = await Promise.allSettled(asked)      // so that the connection is at rest, whatever happened
  const failures = outcomes.flatMap((outcome) => outcome.status === 'rejected' ? [outcome.reason] : [])
  // One that broke the connection tells more than one that was refused before.
  if (failures.length > 0) throw failures.find(isBroken) ?? failures[0]
  return Promise.all(asked)
}

const prepared = ([text, values]: Statement): QueryConfig => ({ name: nameOf(text), text, values })

// A named statement is parsed and planned once per connection.
const names = new Map<string, string>()
function nameOf (text: string) {
  const known = names.get(text)
  if (known) return known
  const name = hash('sha256', text).slice(0, 32)
  names.set(text, name)
  return name
}

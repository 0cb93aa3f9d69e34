import { hash } from 'node:crypto'
import { InternalServerError } from '../errors.ts'
import { askTogether } from './batch.ts'
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
      batch: (...statements) => askAsOne(client, signal, statements)
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

/** None waits for the answer of another. */
export async function askAsOne<Row extends QueryResultRow> (client: PoolClient, signal: Signal | undefined, statements: Statement[]): Promise<Row[]> {
  signal?.throwIfAborted()
  const { rows } = await askTogether(client, statements.map(prepared))
  return rows
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

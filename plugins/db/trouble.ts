type PgError = Error & { code?: string, severity?: string }

const READ_ONLY = '25006'
const STALE_PLAN = '0A000'   // a migration changed what a prepared statement answers: a new connection prepares it anew
const PASSING = new Set(['40001', '40P01', STALE_PLAN])
const TROUBLE = new Set([READ_ONLY, '54000', '55P03', '42P01', '42703'])   // read-only, out of transaction ids, lock not available, not migrated yet
// What ends a connection, or refuses it, by its code: the word FATAL is in the language of the server.
const ENDING = /^(08|25P0[34]|28|3D|53300|57P)/
const TROUBLE_CLASSES = new Set(['08', '53', '57', '58', 'XX'])   // connection, resources, operator, system, internal
const BUGS = [TypeError, RangeError, ReferenceError, SyntaxError]

/** Whether the connection must go: it broke, timed out, leads to a server that cannot write, or is in a state nobody knows. */
export function isBroken (error: unknown): boolean {
  if (isOurs(error)) return false
  const { code = '', severity } = error as PgError
  return severity === undefined || severity === 'FATAL' || severity === 'PANIC' || ENDING.test(code) || code === READ_ONLY || code === STALE_PLAN
}

/** Whether PostgreSQL could not do its work, in contrast to having refused ours. */
export function isTrouble (error: unknown): boolean {
  if (isOurs(error) || isPassing(error) || BUGS.some((Bug) => error instanceof Bug)) return false
  const { code = '' } = error as PgError
  return isBroken(error) || TROUBLE.has(code) || TROUBLE_CLASSES.has(code.slice(0, 2))
}

/** Whether the same may succeed when it is tried again: another transaction or a migration got in the way. */
export const isPassing = (error: unknown) => PASSING.has((error as PgError).code ?? '')

// What `work` throws inside a transaction: a refusal of ours has an HTTP status and says nothing of the connection.
const isOurs = (error: unknown) => (error as { statusCode?: number }).statusCode !== undefined

type PgError = Error & { code?: string, severity?: string }

const READ_ONLY = '25006'
const CONFLICTS = new Set(['40001', '40P01'])
const TROUBLE = new Set([READ_ONLY, '55P03', '42P01', '42703'])   // read-only, lock not available, not migrated yet
const TROUBLE_CLASSES = new Set(['08', '53', '57', '58', 'XX'])   // connection, resources, operator, system, internal

/** Whether the connection itself is unusable: it broke, timed out, or leads to a server that cannot write. */
export function isBroken (error: unknown): boolean {
  if (isOurs(error)) return false
  const { code, severity } = error as PgError
  return severity === undefined || severity === 'FATAL' || severity === 'PANIC' || code === READ_ONLY
}

/** Whether PostgreSQL could not do its work, in contrast to having refused ours. */
export function isTrouble (error: unknown): boolean {
  if (isOurs(error)) return false
  const { code = '' } = error as PgError
  return isBroken(error) || TROUBLE.has(code) || TROUBLE_CLASSES.has(code.slice(0, 2))
}

/** Whether the same transaction may succeed when it is tried again. */
export const isConflict = (error: unknown) => CONFLICTS.has((error as PgError).code ?? '')

// What `work` throws inside a transaction: a refusal of ours has an HTTP status and says nothing of the connection.
const isOurs = (error: unknown) => (error as { statusCode?: number }).statusCode !== undefined

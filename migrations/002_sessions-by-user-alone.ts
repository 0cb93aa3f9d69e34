import type { MigrationBuilder } from 'node-pg-migrate'

// Without last_seen_at a refresh changes no indexed column, so that PostgreSQL updates the row in its page and no index at all (HOT).
const by = { userAlone: 'sessions_user_idx', userAndTime: 'sessions_user_id_idx' }

export async function up (pgm: MigrationBuilder) {
  await replaceIndex(pgm, by.userAndTime, by.userAlone, 'sessions (user_id)')
}

export async function down (pgm: MigrationBuilder) {
  await replaceIndex(pgm, by.userAlone, by.userAndTime, 'sessions (user_id, last_seen_at desc)')
}

/** Puts an index in the place of another one, while both are in use. */
export async function replaceIndex (pgm: MigrationBuilder, old: string, name: string, columns: string) {
  pgm.noTransaction()
  // What follows waits for transactions that are older than it, and nobody waits behind it.
  pgm.sql("set lock_timeout = '60s'")
  pgm.sql("set statement_timeout = '30min'")
  // A run that was killed leaves an index that is kept up to date and never read.
  const halfBuilt = await pgm.db.select(`select from pg_index where indexrelid = to_regclass('${name}') and not indisvalid`)
  if (halfBuilt.length > 0) pgm.sql(`drop index concurrently if exists ${name}`)
  pgm.sql(`create index concurrently if not exists ${name} on ${columns}`)
  pgm.sql(`drop index concurrently if exists ${old}`)
}

import { replaceIndex } from './002_sessions-by-user-alone.ts'
import type { MigrationBuilder } from 'node-pg-migrate'

// Those that have ended stay for a day, any number of them; a login looks for those that live. A refresh does not change when one ended.
const by = { userAlone: 'sessions_user_idx', userAndEnd: 'sessions_user_end_idx' }

export async function up (pgm: MigrationBuilder) {
  await replaceIndex(pgm, by.userAlone, by.userAndEnd, 'sessions (user_id, revoked_at)')
}

export async function down (pgm: MigrationBuilder) {
  await replaceIndex(pgm, by.userAndEnd, by.userAlone, 'sessions (user_id)')
}

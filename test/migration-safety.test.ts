import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { faultsOf, stepsOf } from './migration-safety.ts'

const FOLDER = join(import.meta.dirname, '../migrations')
const TIMEOUTS = "set local lock_timeout = '2s';\nset local statement_timeout = '60s';\n"
const inTransaction = (sql: string) => faultsOf({ sql, isInTransaction: true, isForward: true })
const rules = (faults: string[]) => faults.map((fault) => fault.split(' ')[0])

test('every migration is safe on a live table, there and back', async (t) => {
  for (const name of readdirSync(FOLDER)) {
    for (const step of await stepsOf(join(FOLDER, name))) t.same(faultsOf(step), [], `${name}, ${step.isForward ? 'up' : 'down'}`)
  }
})

test('what would lock a table for long, or break the version before, is refused', async (t) => {
  for (const [statement, rule] of [
    ['create index on users (created_at)', 'require-concurrent-index-creation'],
    ['create index concurrently on users (created_at)', 'ban-concurrent-index-creation-in-transaction'],
    ['drop index users_created_at_idx', 'require-concurrent-index-deletion'],
    ['alter table users add column nick text not null', 'adding-required-field'],
    ['alter table users add column rank integer default random()', 'adding-field-with-default'],
    ['alter table users alter column display_name set not null', 'adding-not-nullable-field'],
    ['alter table users alter column epoch type bigint', 'changing-column-type'],
    ['alter table users rename column email to mail', 'renaming-column'],
    ['alter table users rename to people', 'renaming-table'],
    ['alter table users drop column display_name', 'ban-drop-column'],
    ['drop table sessions', 'ban-drop-table'],
    ['alter table users add constraint positive check (epoch >= 0)', 'constraint-missing-not-valid'],
    ['alter table users add constraint once unique (display_name)', 'disallowed-unique-constraint']
  ] as const) t.ok(rules(inTransaction(`${TIMEOUTS}${statement};`)).includes(rule), `${statement}: ${rule}`)
  const statement = 'alter table users add column nick text;'
  t.same(inTransaction(TIMEOUTS + statement), [])
  t.same(rules(inTransaction(statement)), ['require-lock-timeout', 'require-statement-timeout'])
  t.same(faultsOf({ sql: 'set lock_timeout = \'2s\';\nset statement_timeout = \'9min\';\ncreate index concurrently nick on users (nick);', isInTransaction: false, isForward: true }), ['prefer-robust-stmts (line 3)'], 'what runs outside of a transaction can be run again')
})

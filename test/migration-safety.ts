import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

export type Step = { sql: string, isInTransaction: boolean, isForward: boolean }

const SQUAWK = createRequire(import.meta.url).resolve('squawk-cli/js/bin/squawk')
const OLDEST_POSTGRESQL = '13.0'
// A counter of password changes or refreshes stays below two thousand million.
const NOT_OURS = ['prefer-bigint-over-int']
// What a way back is for.
const BACK = ['ban-drop-table', 'ban-drop-column']

/** The rules (https://squawkhq.com/docs/rules) that a step of a migration breaks: what locks a table for long, or breaks the version before. */
export function faultsOf ({ sql, isInTransaction, isForward }: Step): string[] {
  const args = ['--reporter=json', `--pg-version=${OLDEST_POSTGRESQL}`, '--stdin-filepath=migration.sql', `--exclude=${[...NOT_OURS, ...isForward ? [] : BACK].join()}`]
  if (isInTransaction) args.push('--assume-in-transaction')
  const { stdout, stderr } = spawnSync(process.execPath, [SQUAWK, ...args], { input: sql, encoding: 'utf8' })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout).map(({ rule_name: rule, line }: { rule_name: string, line: number }) => `${rule} (line ${line + 1})`)
}

/** A migration as PostgreSQL gets it, there and back. */
export async function stepsOf (file: string): Promise<Step[]> {
  if (file.endsWith('.ts')) return Promise.all(['up', 'down'].map((direction) => record(file, direction)))
  const [, forward = '', back = ''] = readFileSync(file, 'utf8').split(/^-- (?:Up|Down) Migration$/m)
  return [{ sql: forward, isInTransaction: true, isForward: true }, { sql: back, isInTransaction: true, isForward: false }]
}

async function record (file: string, direction: string) {
  const statements: string[] = []
  const step = { isInTransaction: true, isForward: direction === 'up' }
  const { [direction]: run } = await import(pathToFileURL(file).href)
  // Whatever it asks for is there, so that it does all that it may do.
  await run({ noTransaction: () => { step.isInTransaction = false }, sql: (text: string) => statements.push(text), db: { select: async () => [{}] } })
  return { ...step, sql: `${statements.join(';\n')};\n` }
}

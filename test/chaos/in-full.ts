import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { performance } from 'node:perf_hooks'
import { inspect } from 'node:util'
import { t as file } from 'tap'
import { endure } from './endure.ts'
import { rows } from './rows/index.ts'
import { asMarkdown, asText, type Line } from './table.ts'

const FOLDER = join(import.meta.dirname, '..', '..', '.tap')
const EVIDENCE = { depth: 6, breakLength: 160 }
const only = new RegExp(process.env.CHAOS_ONLY ?? '', 'i')
const say = (text: string) => process.stderr.write(text)

const chosen = rows.filter(({ fault }) => only.test(fault))
const lines: Line[] = []
for (const [i, row] of chosen.entries()) {
  await file.test(row.fault, async (t) => {
    const startedAt = performance.now()
    say(`[${String(i + 1).padStart(String(chosen.length).length)}/${chosen.length}] ${row.fault} … `)
    const outcome = await endure(t, row)
    lines.push({ ...row, ...outcome })
    say(`${outcome.isKept ? 'kept' : 'BROKEN'}, ${Math.round((performance.now() - startedAt) / 1000)} s\n`)
    if (!outcome.isKept) say(`${inspect(outcome.evidence, EVIDENCE)}\n`)
  })
}

const path = join(FOLDER, 'chaos.md')
await mkdir(FOLDER, { recursive: true })
await writeFile(path, `${asMarkdown(lines)}\n`)
say(`\n${asText(lines, process.stderr.columns)}\n\nAs Markdown: ${relative(process.cwd(), path)}\n`)

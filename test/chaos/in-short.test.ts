import { test } from 'tap'
import { endure } from './endure.ts'
import { rows } from './rows/index.ts'

for (const row of rows.filter(({ isShort }) => isShort)) test(row.fault, async (t) => { await endure(t, row) })

import { randomInt } from 'node:crypto'
import { test } from 'tap'
import { holds } from './holds.ts'

const { MODEL_SEED, MODEL_RUNS = '5000', MODEL_SECONDS = '1500', MODEL_PATH } = process.env
const REPORT_EVERY = 250

const seed = MODEL_SEED === undefined ? randomInt(2 ** 31) : Number(MODEL_SEED)
const runs = Number(MODEL_RUNS)
const say = (text: string) => process.stderr.write(`${text}\n`)

test(`MODEL_SEED=${seed}`, async (t) => {
  say(`MODEL_SEED=${seed} MODEL_RUNS=${runs} MODEL_SECONDS=${MODEL_SECONDS}`)
  const onLife = (count: number) => { if (count % REPORT_EVERY === 0) say(`${count} lives`) }
  await holds(t, { seed, runs, seconds: Number(MODEL_SECONDS), path: MODEL_PATH, onLife })
})

import { performance } from 'node:perf_hooks'
import pg from 'pg'

// The least that a durable refresh takes: one row is updated, by its key, through pg.
// Servers are warm as well: connected, with what they ask planned and what they run compiled.
const WARM_UP_SECONDS = 1

const [connections, seconds] = process.argv.slice(2).map(Number) as [number, number]
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL!, max: Number(process.env.DB_POOL_SIZE) })
const { rows } = await pool.query<{ id: string }>('select id from floor order by random() limit 4000')
const text = 'update floor set generation = generation + 1, rotated_at = now() where id = $1 returning generation'
let next = 0

await updates(WARM_UP_SECONDS)
process.send!(await updates(seconds))
await pool.end()
process.disconnect()

/** How many of them a second. */
async function updates (seconds: number) {
  const startedAt = performance.now()
  const end = startedAt + seconds * 1000
  let done = 0
  await Promise.all(Array.from({ length: connections }, async () => {
    while (performance.now() < end) {
      await pool.query({ name: 'update', text, values: [rows[next++ % rows.length]!.id] })
      done++
    }
  }))
  return done / (performance.now() - startedAt) * 1000
}

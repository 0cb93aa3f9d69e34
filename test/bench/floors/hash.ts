import { performance } from 'node:perf_hooks'
import argon2 from 'argon2'

// The least that a login takes: argon2 verifies a password, as many at a time as the service does.
const [concurrency, seconds] = process.argv.slice(2).map(Number) as [number, number]
const hash = await argon2.hash('correct horse battery staple', { memoryCost: 19_456, timeCost: 2, parallelism: 1 })

const startedAt = performance.now()
const end = startedAt + seconds * 1000
let done = 0
await Promise.all(Array.from({ length: concurrency }, async () => {
  while (performance.now() < end) {
    await argon2.verify(hash, 'correct horse battery staple')
    done++
  }
}))
process.send!(done / (performance.now() - startedAt) * 1000)
process.disconnect()

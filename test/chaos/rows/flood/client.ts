import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { createPeer, loginRequest, type Peer } from './peer.ts'

// A process of its own, so that it does not distort what the other one measures:
// logs in `rate` times a second, whatever is answered, or, where that is 0, as often as `connections` get an answer.
const { address, emails, password, seconds, rate, connections } = JSON.parse(process.argv[2]!)
const TICK_MS = 5
const requests: string[] = emails.map((email: string) => loginRequest({ email, password }))
const idle: Peer[] = Array.from({ length: rate ? 0 : connections }, () => createPeer(address))
const replies: object[] = []
const pending = new Set<Promise<void>>()
const beganAt = performance.now()
const end = beganAt + seconds * 1000
let sent = 0
let open = idle.length

while (performance.now() < end) {
  const due = rate ? (performance.now() - beganAt) / 1000 * rate : Infinity
  while (sent < due) {
    const peer = idle.pop() ?? another()
    if (!peer) break
    sent++
    const asking = ask(peer)
    pending.add(asking)
    asking.finally(() => pending.delete(asking))
  }
  if (rate) await delay(TICK_MS)
  else await Promise.race(pending)
}
await Promise.all(pending)
for (const peer of idle) peer.close()
const { user, system } = process.cpuUsage()
process.stdout.write(JSON.stringify({ replies, cpuMs: (user + system) / 1000 }))

function another () {
  if (open >= connections) return undefined
  open++
  return createPeer(address)
}

async function ask (peer: Peer) {
  const sentAt = performance.now()
  const reply = await peer.ask(requests[sent % requests.length]!)
  replies.push({ ...reply, ms: performance.now() - sentAt, endedAfterMs: performance.now() - beganAt })
  if (peer.isClosed) open--
  else idle.push(peer)
}

import { once } from 'node:events'
import autocannon from 'autocannon'

/** What a load generator is told to do: requests one after another over each connection, each of which has a share of them. */
export type Plan = {
  url: string
  connections: number
  seconds: number
  /** Together, at most; as many as are answered where there is none. */
  perSecond?: number
  requests?: Request[]
  /** Refresh tokens to be exchanged, each for the next one. */
  refreshTokens?: string[]
  /**
   * Looks for answers without sleeping, where nothing else needs its core. To wake a sleeper on another core takes the server up to 5 µs an answer
   * (where it is an interrupt from one virtual CPU to another), which the network would not, and which a server that keeps the generator busy is spared.
   */
  isAwake?: boolean
}
export type Request = { method?: 'GET' | 'POST', path: string, headers?: Record<string, string>, body?: string }
export type Outcome = { perSecond: number, statuses: Record<string, number>, errors: number, refreshTokens: string[] }

const JSON_BODY = { 'content-type': 'application/json' }

process.on('message', async (plan: Plan) => process.send!(await generate(plan)))

async function generate ({ url, connections, seconds, perSecond, requests = [], refreshTokens = [], isAwake = false }: Plan): Promise<Outcome> {
  let answers = 0
  const statuses: Outcome['statuses'] = {}
  let began = 0
  const options: autocannon.Options = {
    url,
    connections,
    duration: seconds,
    ...(perSecond && { overallRate: perSecond }),
    requests: refreshTokens.length > 0 ? [exchangeOf(refreshTokens)] : requests.slice(0, 1),
    // All of them would be built for each connection, and compete with what is measured for half a second.
    setupClient (client) {
      const share = shareOf(requests, began++, connections)
      if (share.length > 0) client.setRequests(share)
    }
  }
  const sleep = isAwake ? stayAwake() : () => {}
  const running = autocannon(options, () => {})
  running.on('response', (client, status) => {
    answers++
    statuses[status] = (statuses[status] ?? 0) + 1
  })
  const [{ duration, errors, timeouts }] = await once(running, 'done') as [autocannon.Result]
  sleep()
  return {
    perSecond: answers / duration,
    statuses,
    errors: errors + timeouts,
    refreshTokens
  }
}

function stayAwake () {
  let turn = setImmediate(function again () { turn = setImmediate(again) })
  return () => clearImmediate(turn)
}

const shareOf = <Item>(items: Item[], i: number, of: number) => items.slice(Math.floor(i * items.length / of), Math.floor((i + 1) * items.length / of))

/** Takes the token that waits for longest, and puts its successor last. */
function exchangeOf (refreshTokens: string[]): autocannon.Request {
  return {
    method: 'POST',
    path: '/auth/refresh',
    setupRequest: (request) => ({ ...request, headers: JSON_BODY, body: JSON.stringify({ refreshToken: refreshTokens.shift() }) }),
    onResponse: (status, body) => { if (status === 200) refreshTokens.push(JSON.parse(body).refreshToken) }
  }
}

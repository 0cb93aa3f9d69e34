import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

/** Of the address: whoever knows it may post. */
export const SECRET_PATH = '/services/canary'
const OK: RequestListener = (request, response) => response.end('ok')

/** Notes the text of what is posted to it, as Slack would show it. */
export async function startReceiver (t: Test, answer = OK) {
  const texts: string[] = []
  const server = createServer(async (request, response) => {
    texts.push(JSON.parse(await text(request)).text)
    answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as { port: number }
  return { url: `http://127.0.0.1:${port}${SECRET_PATH}`, texts }
}

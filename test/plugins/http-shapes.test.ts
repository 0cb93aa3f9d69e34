import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { test } from 'tap'
import { eventually } from '../eventually.ts'
import { settings } from '../helper.ts'
import { listening, preload, start } from '../processes.ts'

const NATIVES = ['--expose-gc', '--allow-natives-syntax']
// Garbage is collected after each connection, and what the next one is made of is told.
const WATCH = preload(`
  import { Server } from 'node:http'
  const { emit } = Server.prototype
  Server.prototype.emit = function (event, subject, response) {
    if (event === 'connection') subject.once('close', () => setImmediate(() => { gc(); console.error('collected') }))
    if (event === 'request') console.error('fast: ' + [subject.socket, subject, response].map((object) => %HasFastProperties(object)))
    return emit.apply(this, arguments)
  }`)

test('no collection of garbage makes dictionaries of sockets, requests and responses', async (t) => {
  const server = start(t, 'server.ts', [], { ...settings, LOG_LEVEL: 'info', PORT: '0' }, [...NATIVES, ...WATCH])
  const url = await listening(server)
  const all = (pattern: RegExp) => server.stderr.match(pattern) ?? []
  for (let connections = 1; connections <= 10; connections++) {
    const [response] = await once(get(`${url}/health`, { agent: false }), 'response') as [IncomingMessage]
    t.equal(response.resume().statusCode, 200)
    await eventually(() => all(/^collected$/gm).length === connections)
  }
  t.same(all(/^fast: .*$/gm), Array(10).fill('fast: true,true,true'))
})

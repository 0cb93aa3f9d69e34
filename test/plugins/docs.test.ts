import { test } from 'tap'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { build, settings } from '../helper.ts'

test('the docs take the width of the screen', async (t) => {
  const app = await build(t)
  const { headers, body } = await app.inject('/docs')
  t.match(body, '<meta name="viewport" content="width=device-width, initial-scale=1"><title>microts</title>')
  t.equal(Number(headers['content-length']), Buffer.byteLength(body))
})

test("Swagger UI's own page, a file, may load as much and no more", async (t) => {
  const app = await build(t)
  const [page, file] = [await app.inject('/docs'), await app.inject('/docs/static/')]
  t.match(file, { statusCode: 200, headers: { 'content-type': /^text\/html/ }, body: '<title>Swagger UI</title>' })
  t.equal(file.headers['content-security-policy'], page.headers['content-security-policy'])
})

test('a file that the browser has is not sent again', async (t) => {
  const app = await build(t)
  const url = '/docs/static/swagger-ui.css'
  const { headers: { etag }, rawPayload } = await app.inject(url)
  t.ok(rawPayload.length > 1000)
  t.match(await app.inject({ url, headers: { 'if-none-match': String(etag) } }), { statusCode: 304, headers: { etag }, body: '' })
  t.match(await app.inject({ url, headers: { range: 'bytes=0-9' } }), { statusCode: 206, headers: { 'content-length': '10', 'content-range': `bytes 0-9/${rawPayload.length}` } })
})

test('documentation that cannot be made fails its own requests and no stop', async (t) => {
  // The site has this path already.
  const app = await buildApp(loadConfig(settings))
  app.get('/docs/json', { schema: { operationId: 'twice' } }, async () => ({}))
  for (let i = 0; i < 2; i++) t.equal((await app.inject('/docs')).statusCode, 500)
  t.equal((await app.inject('/health')).statusCode, 200)
  await t.resolves(app.close())
})

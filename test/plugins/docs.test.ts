import { test } from 'tap'
import { parse } from 'yaml'
import { build as buildApp } from '../../app.ts'
import { loadConfig } from '../../plugins/config/index.ts'
import { buildWith } from '../build-with.ts'
import { build, settings } from '../helper.ts'
import { isProblem } from '../problem.ts'

test('the docs take the width of the screen', async (t) => {
  const app = await build(t)
  const { headers, body } = await app.inject('/docs')
  t.match(body, '<meta name="viewport" content="width=device-width, initial-scale=1"><title>microts</title>')
  t.equal(Number(headers['content-length']), Buffer.byteLength(body))
})

test('the document is served in both notations, each by its registered name', async (t) => {
  const app = await build(t)
  const [json, yaml] = [await app.inject('/docs/json'), await app.inject('/docs/yaml')]
  t.equal(json.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(yaml.headers['content-type'], 'application/yaml')
  t.same(parse(yaml.body), json.json())
})

test('a file that the browser has is not sent again', async (t) => {
  const app = await build(t)
  for (const url of ['/docs', '/docs/json', '/docs/static/swagger-ui.css']) {
    const { headers: { etag, 'cache-control': cache }, rawPayload } = await app.inject(url)
    t.ok(rawPayload.length > 500)
    t.equal(cache, 'no-cache', url)
    t.match(await app.inject({ url, headers: { 'if-none-match': String(etag) } }), { statusCode: 304, headers: { etag }, body: '' })
    t.match(await app.inject({ url, method: 'HEAD' }), { statusCode: 200, headers: { etag, 'content-length': String(rawPayload.length) }, body: '' })
    isProblem(t, await app.inject({ url, headers: { 'if-match': '"stale"' } }), 412, 'PRECONDITION_FAILED')
  }
})

test('all that the page asks for is there, and nothing that is not on the list', async (t) => {
  const app = await build(t)
  const { body } = await app.inject('/docs')
  const wanted = [...body.matchAll(/(?:src|href)="(?:\.\/|\/)?([^":]+)"/g)].map(([, path]) => path!.replace(/^docs\//, ''))
  t.ok(wanted.length > 5)
  for (const path of wanted) t.equal((await app.inject(`/docs/${path}`)).statusCode, 200, path)
  t.equal((await app.inject('/docs/static/%69ndex.css?v=1')).statusCode, 200, 'however it is spelled')
  for (const path of ['static', 'static/', 'static/index.html', 'static/csp.json', 'static//index.css', 'nothing']) isProblem(t, await app.inject(`/docs/${path}`), 404, 'NOT_FOUND')
})

test('many who look are sent one and the same answer, which takes the memory of one', async (t) => {
  const sent = new Set<unknown>()
  const app = await buildWith(t, (app) => app.addHook('onSend', async (request, reply, payload) => { sent.add(payload) }))
  const lengths = await Promise.all(Array.from({ length: 20 }, async () => (await app.inject('/docs/static/swagger-ui-bundle.js')).rawPayload.length))
  t.ok(lengths.every((length) => length > 1_000_000))
  t.equal(sent.size, 1)
})

test('no page is kept that could not be made', async (t) => {
  const app = await buildApp(loadConfig(settings))
  t.teardown(() => app.close())
  for (const type of ['string', 'integer']) app.get(`/${type}`, { schema: { operationId: type, response: { 200: { type: 'object', title: 'Twice', properties: { value: { type } } } } } }, async () => ({}))
  for (let i = 0; i < 2; i++) isProblem(t, await app.inject('/docs/static/index.css'), 500, 'INTERNAL_SERVER_ERROR')
})

test('documentation that cannot be made fails its own requests and no stop', async (t) => {
  // The site has this path already.
  const app = await buildApp(loadConfig(settings))
  app.get('/docs/json', { schema: { operationId: 'twice' } }, async () => ({}))
  for (let i = 0; i < 2; i++) t.equal((await app.inject('/docs')).statusCode, 500)
  t.equal((await app.inject('/health')).statusCode, 200)
  await t.resolves(app.close())
})

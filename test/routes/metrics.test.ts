import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { build, signUp } from '../helper.ts'
import { isProblem } from '../problem.ts'

const OPS_TOKEN = randomBytes(48).toString('base64url')
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

test('only operators read metrics, where they have a token', async (t) => {
  const app = await build(t, { OPS_TOKEN })
  const { headers } = await signUp(app)
  for (const wrong of [{}, headers, bearer(''), bearer(OPS_TOKEN.slice(1)), bearer(`${OPS_TOKEN}x`), { authorization: OPS_TOKEN }, { authorization: `Basic ${OPS_TOKEN}` }]) {
    isProblem(t, await app.inject({ url: '/metrics', headers: wrong }), 401, 'UNAUTHORIZED')
  }
  for (const scheme of ['Bearer', 'bearer', 'Bearer ']) {
    const response = await app.inject({ url: '/metrics', headers: { authorization: `${scheme} ${OPS_TOKEN}` } })
    t.hasStrict(response, { statusCode: 200, headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'cache-control': 'no-store' } })
  }
  t.notOk((await app.inject({ url: '/metrics', headers: bearer(OPS_TOKEN) })).body.includes(OPS_TOKEN))
})

test('it is open where no token is set, which production does not allow', async (t) => {
  t.equal((await (await build(t)).inject('/metrics')).statusCode, 200)
})

test('guesses at the token count for the address, good calls for nobody', async (t) => {
  const app = await build(t, { OPS_TOKEN, RATE_LIMIT_MAX: '3' })
  for (let i = 0; i < 10; i++) t.equal((await app.inject({ url: '/metrics', headers: bearer(OPS_TOKEN) })).statusCode, 200)
  for (let i = 0; i < 3; i++) t.equal((await app.inject('/metrics')).statusCode, 401)
  isProblem(t, await app.inject('/metrics'), 429, 'RATE_LIMIT_EXCEEDED')
  t.equal((await app.inject({ url: '/metrics', headers: bearer(OPS_TOKEN) })).statusCode, 200)
})

test('who accepts OpenMetrics gets that, and it takes nothing from the plain text', async (t) => {
  const app = await build(t)
  await app.inject('/nothing')
  const plain = (await app.inject('/metrics')).body
  const accept = 'application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
  const { headers, body } = await app.inject({ url: '/metrics', headers: { accept } })
  t.equal(headers['content-type'], 'application/openmetrics-text; version=1.0.0; charset=utf-8')
  t.match(headers.vary, /Accept/)
  t.match(body, /^# TYPE http_errors counter$/m)
  t.match(body, /^http_errors_total\{error_type="NOT_FOUND"\} 1$/m)
  t.match(body, /\n# EOF\n$/)
  t.notMatch(body, /\n\n/)
  const names = (text: string) => [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name?.replace(/_total$/, ''))
  t.same(names(body), names(plain))
  t.match((await app.inject('/metrics')).body, /^# TYPE http_errors_total counter$/m)
})

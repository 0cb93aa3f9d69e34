import { test } from 'tap'
import { found, secret } from '../canaries.ts'
import { bearer, databaseUrl, settings } from '../helper.ts'
import { startRedis } from '../redis.ts'
import { ask, startTraced } from './traced.ts'

const UNSET = 0
const ERROR = 2
const CLIENT_SPAN = 3

test('no secret and no address is in any span, log line or metric, whatever happens', async (t) => {
  const redisPassword = secret('redis')
  const redis = await startRedis(t, ['--requirepass', redisPassword])
  const [password, newPassword, displayName, text, ops, path] = ['password', 'new-password', 'name', 'text', 'ops-token-of-some-length', 'path'].map(secret) as [string, string, string, string, string, string]
  const email = `${secret('mail').slice(0, 30)}@example.com`
  const { collector, server, url } = await startTraced(t, { LOG_LEVEL: 'trace', OPS_TOKEN: ops, REDIS_URL: redis.url.replace('//', `//:${redisPassword}@`) }, 'test/tracing/faulty-server.ts')
  const issued: string[] = []
  const post = async (where: string, body: object, headers = {}) => {
    const answer = await ask(url + where, { method: 'POST', body, headers })
    const tokens = JSON.parse(answer.text)
    if (tokens.accessToken) issued.push(tokens.accessToken, tokens.refreshToken)
    return tokens
  }
  const registered = await post('/auth/register', { email, password, displayName })
  await post('/auth/refresh', registered)
  await post('/auth/refresh', { refreshToken: registered.refreshToken })
  await post('/auth/login', { email, password: newPassword })
  await ask(`${url}/me/password`, { method: 'PUT', headers: bearer(registered.accessToken), body: { currentPassword: password, newPassword } })

  const strange = { cookie: text, 'if-match': text, 'if-none-match': text, 'x-request-id': `${text}!`, 'user-agent': text, origin: text, baggage: `secret=${text}`, tracestate: `secret=${text}`, 'x-forwarded-for': text, 'x-forwarded-host': text }
  const { paths } = await (await fetch(`${url}/docs/json`)).json() as { paths: Record<string, Record<string, object>> }
  for (const [template, methods] of Object.entries(paths)) {
    for (const method of Object.keys(methods)) {
      const body = ['post', 'put', 'patch'].includes(method) ? { email, password, displayName, unheardOf: text } : undefined
      const { accessToken } = await post('/auth/login', { email, password: newPassword })
      for (const authorization of [`Bearer ${accessToken}`, `Bearer ${registered.refreshToken}`, `Bearer ${ops}`, text]) {
        await ask(`${url}${template.replace(/\{.*\}/, path)}?${text}=${text}`, { method: method.toUpperCase(), body, headers: { ...strange, authorization } })
        await ask(`${url}${template.replace(/\{.*\}/, path)}`, { method: method.toUpperCase(), body, headers: { ...strange, authorization } })
      }
    }
  }
  await ask(`${url}/${path}/${email}?${text}`, { headers: strange })
  const faults: [where: string, canary: string][] = [
    ['/duplicate', text], ['/unreadable', email], ['/unexpected', password], ['/refused-by-redis', text], ['/elsewhere', `${collector.url}/${path}?${text}`]
  ]
  const failures: string[] = []
  for (const [where, canary] of faults) failures.push((await ask(url + where, { headers: { canary, baggage: `secret=${text}`, tracestate: `secret=${text}` } })).traceId)
  const calls = (await Promise.all(failures.map((traceId) => collector.trace(traceId)))).flat().filter(({ kind }) => kind === CLIENT_SPAN)

  const metrics = await ask(`${url}/metrics`, { headers: bearer(ops) })
  t.equal(metrics.status, 200)
  const { spans } = collector
  const canaries = [
    password, newPassword, displayName, text, ops, path, email, redisPassword, databaseUrl, new URL(databaseUrl).password,
    JSON.parse(settings.JWT_KEYS!).keys[0].d, settings.REFRESH_TOKEN_SECRET!, ...issued
  ]
  t.same(found(spans.map((span) => JSON.stringify(span)), canaries), [])
  t.same(found(collector.bodies, canaries), [])
  t.same(found([JSON.stringify(collector.others)], canaries), [])
  t.match(collector.others, [{ traceparent: new RegExp(failures.at(-1)!) }], 'who is called hears of the trace')
  t.same(found(server.stdout.split('\n'), canaries), [])
  t.same(found(metrics.text.split('\n'), canaries), [])

  const outcomes: [call: string, status: number, error: RegExp | undefined][] = [['INSERT users', ERROR, /23505/], ['SELECT', ERROR, /22P02/], ['zrem', ERROR, /^ReplyError$/], ['GET', UNSET, undefined]]
  for (const [call, status, error] of outcomes) {
    const span = calls.find(({ name }) => name === call)
    t.equal(span?.status.code, status, call)
    t.match(Object.values(span?.events[0]?.attributes ?? {})[0], error, call)
  }
  t.same(Object.keys(paths).filter((path) => !/^\/(health|ready|metrics|docs)/.test(path)).map((path) => path.replace(/\{(.*)\}/, ':$1'))
    .filter((route) => !spans.some(({ attributes }) => attributes['http.route'] === route)), [], 'every route')
  t.equal(found([`{"a":"${email}"}`, `{"a":"${issued[0]!.slice(0, -5)}"}`], canaries).length, 2, 'what is there is found')
})

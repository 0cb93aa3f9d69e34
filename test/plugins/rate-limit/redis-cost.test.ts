import { test } from 'tap'
import { eventually } from '../../eventually.ts'
import { build, PASSWORD, post, signUp } from '../../helper.ts'
import { connected, startRedis } from '../../redis.ts'

type Entry = [id: number, at: number, microseconds: number, args: [command: string, ...string[]]]

const SENT = ['eval', 'evalsha', 'del', 'zrem']
const ONE = ['eval']
const TWO = ['eval', 'eval']
// The address, a look before the body is read, then each limit of its own.
const REGISTRATION = ['eval', 'eval', 'eval']
const LOGIN = ['eval', 'eval', 'eval', 'eval', 'eval']

test('a decision is one round trip to Redis, and what is given back is not waited for', async (t) => {
  const redis = await startRedis(t)
  const app = await build(t, { REDIS_URL: redis.url, REDIS_COMMAND_TIMEOUT: '5000' })
  await connected(app)
  const { email, headers, refreshToken } = await signUp(app)
  // At 0 every command is a slow one, and is noted; some versions note those of a script too.
  await redis.admin.config('SET', 'slowlog-log-slower-than', '0', 'slowlog-max-len', '5000')
  const noted = async () => (await redis.admin.slowlog('GET', 5000) as Entry[]).reverse()
    .filter(([,,, [command, ...args]]) => SENT.includes(command) && args.some((arg) => arg.startsWith('microts:limit:')))
  const commands = async () => (await noted()).map(([,,, [command]]) => command.replace('evalsha', 'eval'))

  const requests: [what: string, expected: string[], act: () => Promise<unknown>][] = [
    ['a probe', [], () => app.inject('/health')],
    ['what is public', ONE, () => app.inject('/api')],
    ['what does not exist', ONE, () => app.inject('/nothing')],
    ['a token that is seen for the first time', TWO, () => app.inject({ url: '/me', headers })],
    ['a token that is known', ONE, () => app.inject({ url: '/me', headers })],
    ['a token that is none', TWO, () => app.inject({ url: '/me', headers: { authorization: 'Bearer a.b.c' } })],
    ['a refresh', ONE, () => post(app, '/auth/refresh', { refreshToken })],
    ['a registration', REGISTRATION, () => post(app, '/auth/register', { email: 'new@example.com', password: PASSWORD })],
    ['a login', [...LOGIN, 'del', 'zrem', 'zrem', 'zrem'], () => post(app, '/auth/login', { email, password: PASSWORD })],
    ['a login that fails', LOGIN, () => post(app, '/auth/login', { email, password: 'wrong' })]
  ]
  for (const [what, expected, act] of requests) {
    await redis.admin.slowlog('RESET')
    await act()
    await eventually(async () => (await commands()).length >= expected.length)
    t.same(await commands(), expected, what)
  }

  await redis.admin.slowlog('RESET')
  const decisions = 500
  await Promise.all(Array.from({ length: decisions }, () => app.inject('/api')))
  const scripts = (await noted()).map(([,, microseconds]) => microseconds)
  t.ok(scripts.length < decisions / 10, 'decisions of one moment are made together')
  t.comment(`a decision of ${Math.round(decisions / scripts.length)} that are made together takes Redis ${Math.round(scripts.reduce((sum, microseconds) => sum + microseconds, 0) / decisions)} µs`)
})

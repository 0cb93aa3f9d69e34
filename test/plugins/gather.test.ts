import { test } from 'tap'
import { gather } from '../../plugins/gather.ts'
import { build, signUp } from '../helper.ts'
import { lock, waitFor } from './db/locks.ts'

test('what is asked for within a turn is read in one go, each once', async (t) => {
  const asked: string[][] = []
  const read = gather(async (keys: string[]) => {
    asked.push(keys)
    return new Map(keys.filter((key) => key !== 'unknown').map((key) => [key, `value of ${key}`]))
  })
  t.same(await Promise.all(['a', 'b', 'unknown', 'a'].map(read)), ['value of a', 'value of b', undefined, 'value of a'])
  t.equal(await read('a'), 'value of a')
  t.same(asked, [['a', 'b', 'unknown'], ['a']])
})

test('of many there is more than one go', async (t) => {
  const sizes: number[] = []
  const read = gather(async (keys: number[]) => {
    sizes.push(keys.length)
    return new Map(keys.map((key) => [key, key]))
  })
  t.same(await Promise.all(Array.from({ length: 450 }, (_, i) => read(i))), Array.from({ length: 450 }, (_, i) => i))
  t.same(sizes, [200, 200, 50])
})

test('a failure is told to all who asked, and to none who asks after it', async (t) => {
  let failures = 1
  const read = gather(async (keys: string[]) => {
    if (failures-- > 0) throw new Error('away')
    return new Map(keys.map((key) => [key, key]))
  })
  t.match(await Promise.allSettled(['a', 'b'].map(read)), [{ reason: { message: 'away' } }, { reason: { message: 'away' } }])
  t.equal(await read('a'), 'a')
})

test('one statement reads the profiles that are asked for at a time, and each gets its own', async (t) => {
  const app = await build(t)
  const users = await Promise.all(Array.from({ length: 5 }, () => signUp(app)))
  const unlock = await lock(t, 'lock table users')
  const profiles = Promise.all(users.map(({ user }) => app.users.get(user.id, {})))
  await waitFor(1)
  await unlock()
  t.same(await profiles, users.map(({ user }) => user))
})

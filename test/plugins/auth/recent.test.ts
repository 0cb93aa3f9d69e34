import { test } from 'tap'
import { Recent } from '../../../plugins/auth/recent.ts'

test('of more than it may hold the oldest go first', async (t) => {
  const recent = new Recent<string, number>(3)
  for (const [i, key] of ['a', 'b', 'a', 'c', 'd', 'e'].entries()) recent.set(key, i)
  t.same([...recent], [['c', 3], ['d', 4], ['e', 5]])
  t.equal(recent.get('a'), undefined)
  recent.clear()
  t.equal(recent.size, 0)
})

import { test } from 'tap'
import manifest from '../../package.json' with { type: 'json' }
import { build } from '../helper.ts'

test('the entry point names the service, its version and links that lead somewhere', async (t) => {
  const app = await build(t)
  const response = await app.inject('/api')
  t.equal(response.statusCode, 200)
  const { links, ...rest } = response.json()

  t.same(rest, { name: 'microts', version: manifest.version })
  t.same(Object.keys(links), ['docs', 'openapi', 'jwks', 'status', 'health', 'ready'])
  for (const link of Object.values<string>(links)) t.equal((await app.inject(link)).statusCode, 200, link)
})

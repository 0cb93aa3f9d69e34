import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import { run } from '../processes.ts'

test('the Prometheus Operator gets every group of the rules', async (t) => {
  const { code, stdout } = await run(t, 'deploy/prometheus-rule.ts')
  t.equal(code, 0)
  const { spec: { groups }, ...resource } = JSON.parse(stdout)
  t.match(resource, { kind: 'PrometheusRule', metadata: { name: 'microts' } })
  const folder = join(import.meta.dirname, '../../deploy/prometheus/rules')
  t.same(groups, readdirSync(folder).sort().flatMap((file) => parse(readFileSync(join(folder, file), 'utf8')).groups))
})

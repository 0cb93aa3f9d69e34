import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'

// The rules of deploy/prometheus for the Prometheus Operator: node deploy/prometheus-rule.ts | kubectl apply -n microts -f -
// Its Prometheus needs `externalLabels.repository`, as prometheus.yml has it.
const folder = join(import.meta.dirname, 'prometheus/rules')
const groups = globSync('*.yml', { cwd: folder }).sort().flatMap((file) => parse(readFileSync(join(folder, file), 'utf8')).groups)

process.stdout.write(JSON.stringify({
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PrometheusRule',
  metadata: { name: 'microts', labels: { 'app.kubernetes.io/name': 'microts' } },
  spec: { groups }
}))

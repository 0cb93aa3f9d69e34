import { test } from 'tap'
import { COLOURS, containerOf, manifestsOf, only, OVERLAYS, selects } from './manifests-of.ts'
import type { Manifest } from './manifests-of.ts'

const COLOUR = 'microts/colour'
const COMPONENT = 'app.kubernetes.io/component'

test('two colours share everything but their pods, and the Service is all that a switch changes', async (t) => {
  const [blue, green] = [manifestsOf('blue'), manifestsOf('green')]
  const key = ({ kind, metadata: { name } }: Manifest) => `${kind} ${name}`
  const own = ['ConfigMap', 'Deployment', 'HorizontalPodAutoscaler', 'Job', 'PodDisruptionBudget']
  const shared = blue.filter((manifest) => green.some((other) => key(other) === key(manifest)))
  t.same(new Set(blue.filter((manifest) => !shared.includes(manifest)).map(({ kind }) => kind)), new Set(own.filter((kind) => kind !== 'ConfigMap')), 'the settings have the name of their content')
  const changed = shared.filter((manifest) => JSON.stringify(manifest) !== JSON.stringify(green.find((other) => key(other) === key(manifest))))
  t.same(changed.map(key).filter((name) => !name.startsWith('ConfigMap')), ['Service microts'])

  for (const colour of COLOURS) {
    const other = COLOURS.find((one) => one !== colour)!
    const { labels } = only(colour, 'Deployment').spec!.template.metadata!
    t.ok(selects(only(colour, 'Service', 'microts').spec!.selector, labels))
    t.notOk(selects(only(other, 'Service', 'microts').spec!.selector, labels))
    t.notOk(selects(only(other, 'Deployment').spec!.selector.matchLabels, labels))
    t.ok(selects(only(other, 'Service', 'microts-metrics').spec!.selector, labels), 'both are watched')
    const alone = manifestsOf(colour).filter(({ metadata }) => metadata.labels?.[COLOUR] === colour)
    t.same(alone.map(({ kind }) => kind).sort(), own.filter((kind) => kind !== 'Job'), 'what `-l` selects starts the pods, and switches nothing')
  }
})

test('what `-l` selects as the migration needs nothing but the secret', async (t) => {
  for (const overlay of OVERLAYS) {
    const selected = manifestsOf(overlay).filter(({ metadata }) => metadata.labels?.[COMPONENT] === 'migration')
    t.same(selected.map(({ kind }) => kind), ['Job'])
    const pod = only(overlay, 'Job').spec!.template.spec!
    t.match(pod, { serviceAccountName: undefined, restartPolicy: 'Never' })
    t.notOk(containerOf(pod).envFrom)
  }
})

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import { loadGiven, newKeys, random, wronglyGiven } from '../deploy/given.ts'
import { stepsOf } from '../migration-safety.ts'
import { run } from '../processes.ts'
import { schemaFaults, unknownFields } from './kubernetes-schemas.ts'
import { folder } from './kustomize.ts'
import { containerOf, manifestsOf, only, OVERLAYS, selects } from './manifests-of.ts'
import type { IProbe } from 'kubernetes-models/v1'
import contract from '../../deploy/openapi.json' with { type: 'json' }
import type { Manifest } from './manifests-of.ts'

const MARGIN_SECONDS = 5
const SECRETS_FOLDER = '/run/secrets/microts'
const MIGRATIONS = join(import.meta.dirname, '../../migrations')
const SECONDS: Record<string, number> = { s: 1, min: 60 }
const playbook = readFileSync(join(folder, '../PLAYBOOK.md'), 'utf8')

const contents = () => ({
  [`${SECRETS_FOLDER}/database-url`]: `postgres://microts:${random()}@postgres.databases.svc/microts`,
  [`${SECRETS_FOLDER}/redis-url`]: `rediss://:${random()}@redis.databases.svc:6379`,
  [`${SECRETS_FOLDER}/refresh-token-secret`]: random(),
  [`${SECRETS_FOLDER}/ops-token`]: random(),
  [`${SECRETS_FOLDER}/alert-webhook-url`]: '',
  '/run/keys/jwt-keys.json': newKeys()
})

/** One statement of each migration for as long as it may run: what else is in one takes a moment. */
const longestMigrationSeconds = (await Promise.all(readdirSync(MIGRATIONS).map((name) => stepsOf(join(MIGRATIONS, name)))))
  .flatMap((steps) => steps.filter(({ isForward }) => isForward).map(({ sql }) => statementTimeoutSeconds(sql)))
  .reduce((sum, seconds) => sum + seconds)

for (const overlay of OVERLAYS) {
  const { spec: deployment } = only(overlay, 'Deployment')
  const api = deployment!.template.spec!
  const migration = only(overlay, 'Job').spec!.template.spec!
  const environment = only(overlay, 'ConfigMap').data!

  test(`${overlay}: nothing secret is in it, and all of it is in one namespace and has the name of the service`, async (t) => {
    for (const { kind, metadata } of manifestsOf(overlay)) {
      t.not(kind, 'Secret')
      t.match(metadata, { namespace: 'microts', labels: { 'app.kubernetes.io/name': 'microts' } }, `${kind} ${metadata.name}`)
    }
  })

  test(`${overlay}: the service starts with what it is given`, async (t) => {
    t.same(wronglyGiven(environment), [])
    const config = loadGiven(t, environment, contents())
    t.match(config, { NODE_ENV: 'production', HOST: '0.0.0.0', MIGRATE_ON_START: false, ALERT_WEBHOOK_URL: undefined })
    const { ports, resources, envFrom } = containerOf(api)
    t.equal(ports![0]!.containerPort, config.PORT)
    t.equal(Number(resources!.limits!.cpu), config.HASH_CONCURRENCY)
    t.equal(envFrom![0]!.configMapRef!.name, only(overlay, 'ConfigMap').metadata!.name)
    const { rules, tls } = only(overlay, 'Ingress').spec!
    for (const host of [rules![0]!.host, ...tls![0]!.hosts!]) t.equal(config.JWT_ISSUER, `https://${host}`)

    const graceSeconds = api.terminationGracePeriodSeconds!
    const preStopSeconds = containerOf(api).lifecycle!.preStop!.sleep!.seconds
    t.ok(graceSeconds >= preStopSeconds + config.SHUTDOWN_TIMEOUT / 1000 + MARGIN_SECONDS, 'nothing is killed in the middle of its end')
    const readTimeout = Number(only(overlay, 'Ingress').metadata!.annotations!['nginx.ingress.kubernetes.io/proxy-read-timeout'])
    t.ok(readTimeout * 1000 > config.REQUEST_TIMEOUT, 'it is the service that answers what took too long')
  })

  test(`${overlay}: secrets are mounted where the settings look for them`, async (t) => {
    const paths = Object.entries(environment).filter(([name]) => name.endsWith('_FILE')).map(([, path]) => path)
    const mounts = containerOf(api).volumeMounts!
    for (const path of paths) t.ok(mounts.some(({ mountPath, subPath, readOnly }) => path.startsWith(`${mountPath}/`) && readOnly && !subPath), path)
    t.same(api.volumes!.map(({ secret }) => secret!.secretName), ['microts', 'microts-keys'])
    const { env, volumeMounts } = containerOf(migration)
    const file = env!.find(({ name }) => name === 'DATABASE_URL_FILE')!.value!
    t.equal(file, environment.DATABASE_URL_FILE)
    t.equal(file, `${volumeMounts![0]!.mountPath}/${migration.volumes![0]!.secret!.items![0]!.path}`)
    t.equal(containerOf(migration).args!.join(' '), 'deploy/migrate.ts up')
  })

  test(`${overlay}: migrations have the time that they allow themselves, and are waited for as long`, async (t) => {
    const { activeDeadlineSeconds } = only(overlay, 'Job').spec!
    t.ok(activeDeadlineSeconds! >= longestMigrationSeconds, `${activeDeadlineSeconds} s, and ${longestMigrationSeconds} s may pass`)
    const waits = Array.from(playbook.matchAll(/--for=condition=complete --timeout=(\d+)h/g), ([, hours]) => Number(hours) * 3600)
    t.same(waits, [activeDeadlineSeconds, activeDeadlineSeconds])
  })

  test(`${overlay}: pods are what the restricted standard of Kubernetes wants, and more`, async (t) => {
    for (const [name, pod] of Object.entries({ api, migration })) {
      const { image, securityContext, resources } = containerOf(pod)
      t.match(image, /@sha256:[0-9a-f]{64}$/, `${name}: by digest`)
      t.match(pod, { automountServiceAccountToken: false, enableServiceLinks: false, hostNetwork: undefined, hostPID: undefined }, name)
      t.match(pod.securityContext, { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } }, name)
      t.match(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: undefined }, privileged: undefined }, name)
      for (const kind of ['cpu', 'memory', 'ephemeral-storage']) {
        t.ok(resources!.limits![kind], `${name}: ${kind} is limited`)
        t.ok(resources!.requests![kind], `${name}: ${kind} is requested`)
      }
      for (const volume of pod.volumes!) t.notOk(volume.hostPath, name)
    }
    t.equal(containerOf(api).image, containerOf(migration).image, 'a release migrates itself')
  })

  test(`${overlay}: what tells that it lives asks no dependency, what tells that it is ready does`, async (t) => {
    const { startupProbe, livenessProbe, readinessProbe } = containerOf(api)
    t.match([startupProbe, livenessProbe, readinessProbe], ['/health', '/health', '/ready'].map((path) => ({ httpGet: { path, port: 'http' } })))
    t.ok(patienceOf(startupProbe!) >= 30, 'a slow start is no reason to begin again')
    t.ok(patienceOf(livenessProbe!) >= 20)
    t.ok(patienceOf(readinessProbe!) < patienceOf(livenessProbe!))
    t.notOk(containerOf(migration).livenessProbe)
  })

  test(`${overlay}: a roll-out, a drained node and the autoscaler leave pods that serve`, async (t) => {
    t.match(deployment!.strategy!.rollingUpdate, { maxUnavailable: 0, maxSurge: 1 })
    t.equal(deployment!.replicas, undefined, 'their number is the autoscaler\'s')
    const { scaleTargetRef, minReplicas = 0, maxReplicas } = only(overlay, 'HorizontalPodAutoscaler').spec!
    t.match(scaleTargetRef, { kind: 'Deployment', name: only(overlay, 'Deployment').metadata!.name })
    t.ok(minReplicas > 1 && minReplicas < maxReplicas)
    const { maxUnavailable, selector } = only(overlay, 'PodDisruptionBudget').spec!
    t.ok(Number(maxUnavailable) >= 1 && Number(maxUnavailable) < minReplicas, 'a node can be drained, and somebody still serves')
    t.same(selector, deployment!.selector)
    t.ok(api.topologySpreadConstraints!.every(({ labelSelector }) => selects(labelSelector!.matchLabels, deployment!.template.metadata!.labels)))
  })

  test(`${overlay}: clients reach all that is for them, and nothing that is for operators`, async (t) => {
    const { paths: entrances } = only(overlay, 'Ingress').spec!.rules![0]!.http!
    for (const { backend } of entrances) t.match(backend, { service: { name: 'microts', port: { name: 'http' } } })
    const isOpen = (path: string) => entrances.some((entrance) => path === entrance.path || (entrance.pathType === 'Prefix' && path.startsWith(`${entrance.path}/`)))
    for (const path of ['/docs', '/docs/json', ...Object.keys(contract.paths)]) t.equal(isOpen(path), !/^\/(metrics|alerts\/.*)$/.test(path), path)
  })

  test(`${overlay}: while no pod is ready the ingress and Alertmanager reach those that are not`, async (t) => {
    const name = only(overlay, 'Ingress').metadata!.annotations!['nginx.ingress.kubernetes.io/default-backend']!
    const [, service, namespace, port] = /http:\/\/([\w-]+)\.([\w-]+)\.svc:(\d+)\/alerts\/webhook/.exec(playbook)!
    t.equal(service, name)
    const { metadata, spec } = only(overlay, 'Service', name)
    t.match(metadata, { namespace })
    t.match(spec, { publishNotReadyAddresses: true, ports: [{ port: Number(port), targetPort: 'http' }] })
    t.ok(selects(spec!.selector, deployment!.template.metadata!.labels))
    t.equal(Number(port), containerOf(api).ports![0]!.containerPort, 'a headless Service translates no port')
  })

  test(`${overlay}: what selects pods selects those of the service, and no job`, async (t) => {
    const { labels } = deployment!.template.metadata!
    const ofJob = only(overlay, 'Job').spec!.template.metadata!.labels
    const entrance = only(overlay, 'Service', 'microts')
    const metrics = only(overlay, 'Service', 'microts-metrics')
    for (const selector of [deployment!.selector.matchLabels, entrance.spec!.selector, metrics.spec!.selector]) {
      t.ok(selects(selector, labels))
      t.notOk(selects(selector, ofJob))
    }
    for (const { spec } of [entrance, metrics]) t.equal(spec!.ports![0]!.targetPort, containerOf(api).ports![0]!.name)

    const monitor = only(overlay, 'ServiceMonitor').spec!
    t.ok(selects(monitor.selector.matchLabels, metrics.metadata!.labels))
    t.notOk(selects(monitor.selector.matchLabels, entrance.metadata!.labels), 'each pod is scraped once')
    t.equal(metrics.metadata!.labels![monitor.jobLabel!], 'microts', 'the rules go by the name of the job')
    t.match(monitor.endpoints, [{ port: 'http', path: '/metrics', authorization: { credentials: { name: 'microts', key: 'ops-token' } } }])
  })

  test(`${overlay}: the ingress and those who watch reach the pods; the pods reach what they need`, async (t) => {
    const { podSelector, policyTypes, ingress, egress } = only(overlay, 'NetworkPolicy').spec!
    for (const { labels } of [deployment!.template.metadata!, only(overlay, 'Job').spec!.template.metadata!]) t.ok(selects(podSelector!.matchLabels, labels))
    t.same(policyTypes, ['Ingress', 'Egress'])
    const namespaces = ingress!.flatMap(({ from }) => from!.map(({ namespaceSelector }) => namespaceSelector!.matchLabels!['kubernetes.io/metadata.name']))
    t.same(namespaces, ['ingress-nginx', 'monitoring'])
    const watchers = ingress![0]!.from![1]!.podSelector!.matchExpressions!
    t.same(watchers, [{ key: 'app.kubernetes.io/name', operator: 'In', values: ['prometheus', 'alertmanager'] }], 'or whoever is there could say by X-Forwarded-For whose address it has')
    t.ok(ingress!.every(({ ports }) => ports!.every(({ port }) => port === 'http')))
    t.same(egress!.flatMap(({ ports }) => ports!.map(({ port, protocol }) => `${port}/${protocol}`)), ['53/UDP', '53/TCP', '5432/TCP', '6379/TCP', '4318/TCP', '443/TCP'])
    t.ok(egress!.every(({ to }) => to!.length > 0))
  })
}

function statementTimeoutSeconds (sql: string) {
  const [, amount, unit] = /statement_timeout = '(\d+)(s|min)'/.exec(sql)!
  return Number(amount) * SECONDS[unit!]!
}

function patienceOf ({ periodSeconds = 10, failureThreshold = 3 }: IProbe) {
  return periodSeconds * failureThreshold
}

test('Kubernetes knows all of it, and each field; the namespace takes nothing less than restricted pods', async (t) => {
  const namespace: Manifest = parse(readFileSync(join(folder, 'namespace.yaml'), 'utf8'))
  const { stdout } = await run(t, 'deploy/prometheus-rule.ts')
  const all = [namespace, JSON.parse(stdout), ...OVERLAYS.flatMap((overlay) => manifestsOf(overlay))]
  t.same(await schemaFaults(all), [])
  t.same(unknownFields(all), [])
  t.match(namespace.metadata, { name: 'microts', labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } })
})

test('the schemas see a wrong value, and a field that they do not know', async (t) => {
  const wrong = structuredClone(only('production', 'Deployment'))
  Object.assign(containerOf(wrong.spec!.template.spec!), { imagePullPolicy: 7 })
  t.match(await schemaFaults([wrong as Manifest]), [/^Deployment microts: .*imagePullPolicy/])
  const misspelt = structuredClone(only('production', 'Deployment'))
  Object.assign(containerOf(misspelt.spec!.template.spec!), { lifecyle: {} })
  t.match(unknownFields([misspelt as Manifest]), [/^Deployment microts: .*lifecyle/])
})

import { readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import { bindsOf, folder, reaches, readStack, RELEASE } from './stack.ts'

type Datasource = { type: string, url: string, isDefault?: boolean }
type Provider = { type: string, options: { path: string } }
type Asking = { title?: string, name?: string, type?: string, targets?: { datasource?: object }[], datasource?: object }

// Where Grafana looks unless told otherwise.
const PROVISIONING = '/etc/grafana/provisioning'

const dashboard = JSON.parse(readFileSync(join(folder, '../grafana/dashboard.json'), 'utf8'))
const lists: { templating: Asking[], annotations: Asking[] } = { templating: dashboard.templating.list, annotations: dashboard.annotations.list }
const [{ name: choice, query: kind }, ...others] = dashboard.templating.list.filter(({ type }: Asking) => type === 'datasource')

for (const [stack, { services }] of Object.entries({ 'dev.yaml': readStack('dev.yaml'), 'prod.yaml': readStack('prod.yaml', RELEASE) })) {
  const { grafana } = services
  const mounts = bindsOf(grafana!)
  const mountedIn = (path: string, extension: RegExp) => mounts.filter(({ target }) => posix.dirname(target) === path && extension.test(target)).map(({ source }) => join(folder, source))
  const provisioned = (what: string) => mountedIn(join(PROVISIONING, what), /\.ya?ml$/).map((file) => parse(readFileSync(file, 'utf8')))
  const datasources: Datasource[] = provisioned('datasources').flatMap(({ datasources }) => datasources)
  const providers: Provider[] = provisioned('dashboards').flatMap(({ providers }) => providers)

  test(`Grafana finds the dashboard where it is told to look: ${stack}`, (t) => {
    t.match(providers, [{ type: 'file' }])
    t.same(providers.flatMap(({ options }) => mountedIn(options.path, /\.json$/)), [join(folder, '../grafana/dashboard.json')])
    t.end()
  })

  test(`it has the data source that the dashboard asks, and reaches it: ${stack}`, (t) => {
    t.match(datasources, [{ type: kind, isDefault: true }])
    const { hostname, port } = new URL(datasources[0]!.url)
    t.ok(reaches(grafana!, services[hostname]!))
    t.match(services[hostname]!.image, `prom/${kind}`)
    t.match(services[hostname]!.healthcheck.test!.at(-1), `:${port}/`)
    t.end()
  })
}

test('whatever asks on the dashboard asks the data source that was chosen', (t) => {
  t.same(others, [])
  const asking: Asking[] = [...dashboard.panels.filter(({ type }: Asking) => type !== 'row'), ...lists.annotations, ...lists.templating.filter(({ type }) => type === 'query')]
  for (const { title, name, datasource, targets = [] } of asking) {
    for (const asked of [datasource, ...targets.flatMap(({ datasource = [] }) => datasource)]) t.same(asked, { type: kind, uid: `\${${choice}}` }, title ?? name ?? '')
  }
  t.end()
})

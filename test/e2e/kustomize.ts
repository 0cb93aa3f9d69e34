import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'

const run = promisify(execFile)
const NEEDED = 'kubectl 1.27 or later is needed, which brings Kustomize 5: install it'
const OUTPUT_BYTES = 2 ** 24

export const folder = join(import.meta.dirname, '../../deploy/kubernetes')

/** What `kubectl apply -k` would send. That of Debian 12 is too old for it: it knows no components. */
export async function render (overlay: string): Promise<unknown[]> {
  const { stdout } = await run('kubectl', ['kustomize', join(folder, overlay)], { maxBuffer: OUTPUT_BYTES })
  return parseAllDocuments(stdout).map((document) => document.toJS())
}

export async function checkKubectl () {
  const { stdout } = await run('kubectl', ['version', '--client', '--output=json']).catch(() => ({ stdout: '{}' }))
  const { kustomizeVersion = '' }: { kustomizeVersion?: string } = JSON.parse(stdout)
  if (!(Number(/^v(\d+)/.exec(kustomizeVersion)?.[1]) >= 5)) throw new Error(NEEDED)
}

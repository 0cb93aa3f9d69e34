import ts from 'typescript'
import type { Manifest } from './manifests-of.ts'

type Model = new (data: object) => { validate: () => void }

const OPTIONS: ts.CompilerOptions = {
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2023,
  types: []
}

const moduleOf = ({ apiVersion }: Manifest) => `${apiVersion.startsWith('monitoring.coreos.com/') ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models'}/${apiVersion}`
const nameOf = ({ kind, metadata: { name } }: Manifest) => `${kind} ${name}`

/** What Kubernetes' schemas, and those of the Prometheus Operator, say against a manifest. */
export async function schemaFaults (manifests: Manifest[]) {
  const faults = await Promise.all(manifests.map(async (manifest) => {
    const models: Record<string, Model> = await import(moduleOf(manifest))
    try {
      new models[manifest.kind]!(manifest).validate()
      return []
    } catch (error) {
      return [`${nameOf(manifest)}: ${(error as Error).message}`]
    }
  }))
  return faults.flat()
}

/** The schemas let a field pass that they do not know, which Kubernetes then drops; the types made from them do not. */
export function unknownFields (manifests: Manifest[]) {
  const file = `${import.meta.dirname}/manifests-as-literals.ts`
  const lines = manifests.map((manifest, i) => `import type { I${manifest.kind} as T${i} } from '${moduleOf(manifest)}'; export const m${i}: T${i} = ${JSON.stringify(manifest)}`)
  const host = ts.createCompilerHost(OPTIONS)
  const { fileExists, getSourceFile } = host
  host.fileExists = (path) => path === file || fileExists(path)
  host.getSourceFile = (path, version, ...others) => path === file ? ts.createSourceFile(path, lines.join('\n'), version) : getSourceFile(path, version, ...others)
  return ts.getPreEmitDiagnostics(ts.createProgram([file], OPTIONS, host)).map(({ file: source, start, messageText }) => {
    const { line } = source!.getLineAndCharacterOfPosition(start!)
    return `${nameOf(manifests[line]!)}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

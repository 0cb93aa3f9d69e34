import { checkKubectl, render } from './kustomize.ts'
import type { IDeployment } from 'kubernetes-models/apps/v1'
import type { IHorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2'
import type { IJob } from 'kubernetes-models/batch/v1'
import type { IIngress, INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1'
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1'
import type { IConfigMap, IPodSpec, IService } from 'kubernetes-models/v1'
import type { IServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'

interface Kinds {
  ConfigMap: IConfigMap
  Deployment: IDeployment
  HorizontalPodAutoscaler: IHorizontalPodAutoscaler
  Ingress: IIngress
  Job: IJob
  NetworkPolicy: INetworkPolicy
  PodDisruptionBudget: IPodDisruptionBudget
  Service: IService
  ServiceMonitor: IServiceMonitor
}
type Labels = Record<string, string> | undefined
export type Manifest = { apiVersion: string, kind: string, metadata: { name: string, labels?: Labels } }

export const COLOURS = ['blue', 'green'] as const
export const OVERLAYS = ['production', ...COLOURS] as const

await checkKubectl()
const rendered = new Map(await Promise.all(OVERLAYS.map(async (overlay) => [overlay, await render(`overlays/${overlay}`) as Manifest[]] as const)))

export const manifestsOf = (overlay: typeof OVERLAYS[number]) => rendered.get(overlay)!

/** The one manifest of a kind, or that of the name. */
export function only<K extends keyof Kinds> (overlay: typeof OVERLAYS[number], kind: K, name?: string): Kinds[K] {
  const [found, ...others] = manifestsOf(overlay).filter((manifest) => manifest.kind === kind && (!name || manifest.metadata.name === name))
  if (!found || others.length > 0) throw new Error(`${overlay} has none, or several, of ${kind} ${name ?? ''}`)
  return found as unknown as Kinds[K]
}

export function containerOf ({ containers: [container, ...others] }: IPodSpec) {
  if (!container || others.length > 0) throw new Error('a pod has one container')
  return container
}

export const selects = (selector: Labels, labels: Labels) => Object.entries(selector!).every(([name, value]) => labels?.[name] === value)

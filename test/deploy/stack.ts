import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'

type Env = Record<string, string>
export type Service = {
  image: string
  build?: object
  user?: string
  command?: string[]
  restart?: string
  profiles?: string[]
  read_only?: boolean
  privileged?: boolean
  cap_drop?: string[]
  cap_add?: string[]
  security_opt?: string[]
  environment?: Env
  secrets?: string[]
  volumes?: (string | { source: string, target: string, read_only: boolean })[]
  ports?: string[]
  networks: string[] | Record<string, { ipv4_address?: string }>
  depends_on?: Record<string, { condition: string }>
  healthcheck: { disable?: boolean, test?: string[] }
  stop_grace_period?: string
  deploy: { resources: { limits: { cpus: string, memory: string, pids: number } } }
}
type Stack = {
  services: Record<string, Service>
  networks: Record<string, { internal?: boolean, ipam?: { config: { subnet: string }[] } }>
  secrets: Record<string, { file: string }>
}

export const folder = join(import.meta.dirname, '../../deploy/compose')

/** What prod.yaml cannot be read without. */
export const RELEASE = { MICROTS_IMAGE: `registry.example.com/microts@sha256:${'0'.repeat(64)}`, JWT_ISSUER: 'https://id.example.com' }

const VARIABLE = /\$(?:\$|\{(\w+)(?:(:?[-?])([^}]*))?\})/g

/** A compose file as an engine reads it where the environment is `env`. */
export function readStack (file: string, env: Env = {}): Stack {
  return interpolate(parse(readFileSync(join(folder, file), 'utf8'), { merge: true }))

  function interpolate<T> (node: T): T {
    if (typeof node === 'string') return node.replace(VARIABLE, valueOf) as T
    if (Array.isArray(node)) return node.map(interpolate) as T
    if (node === null || typeof node !== 'object') return node
    return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, interpolate(value)])) as T
  }

  function valueOf (text: string, name: string | undefined, operator = '', other = '') {
    if (!name) return '$'
    const value = env[name]
    if (value || (value === '' && !operator.startsWith(':'))) return value
    if (operator.endsWith('?')) throw new Error(`${name}: ${other}`)
    return other
  }
}

export const networksOf = ({ networks }: Service) => Array.isArray(networks) ? networks : Object.keys(networks)

export function reaches (one: Service, other: Service) {
  const there = networksOf(other)
  return networksOf(one).some((network) => there.includes(network))
}

/** The places outside of it that a container sees, apart from volumes with a name. */
export function bindsOf ({ volumes = [] }: Service) {
  const parsed = volumes.map((volume) => {
    if (typeof volume !== 'string') return { source: volume.source, target: volume.target, isReadOnly: volume.read_only }
    const [source = '', target = '', options = ''] = volume.split(':')
    return { source, target, isReadOnly: options.split(',').includes('ro') }
  })
  return parsed.filter(({ source }) => source.startsWith('.'))
}

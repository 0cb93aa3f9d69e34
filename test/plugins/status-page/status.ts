import type { Status } from '../../../schemas/ops.ts'

type Dependency = Status['dependencies']['database']
export type Change = Partial<Pick<Status, 'status'>> & { firing?: number, resolved?: number, dependencies?: Partial<Record<keyof Status['dependencies'], Dependency['status'] | [Dependency['status'], Dependency['breaker']]>> }

/** A status in which all is well, but for what is changed. */
export function statusOf ({ status = 'up', firing = 0, resolved = 0, dependencies = {} }: Change = {}): Status {
  const of = (name: keyof Status['dependencies'], usual: Dependency['status']): Dependency => {
    const [status, breaker] = [dependencies[name] ?? usual].flat() as [Dependency['status'], Dependency['breaker']?]
    return { status, breaker: breaker ?? (status === 'disabled' ? 'disabled' : 'closed') }
  }
  return {
    service: 'microts',
    version: '0.1.0',
    status,
    uptime: { seconds: 90, formatted: '0d 0h 1m 30s', startedAt: '2026-11-26T00:00:00.000Z' },
    dependencies: { database: of('database', 'up'), redis: of('redis', 'disabled'), webhook: of('webhook', 'disabled') },
    hashing: { build: 'generic', concurrency: 2 },
    alerts: { total: firing + resolved, firing, resolved },
    links: { docs: '/docs' }
  }
}

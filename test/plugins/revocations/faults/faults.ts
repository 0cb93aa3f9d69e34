import type { Fleet, Replica } from './fleet.ts'
import type { RedisCluster, RedisServer } from '../../../redis.ts'

type Act = (fleet: Fleet) => unknown

/** What goes wrong, when, and what is to be expected meanwhile. */
export interface Fault {
  what: string
  begin?: Act
  /** Right after the end of sessions was acknowledged. */
  strike?: Act
  heal?: Act
  /** Whether sessions can be ended. In vain is 503, and nothing of it done. */
  endings?: 'surely' | 'perhaps' | 'in vain'
  /** An operator ends some too, in SQL. */
  isByHand?: boolean
  /** Nobody who knows of the end of a session can say so by Redis. */
  isUntold?: boolean
  /** What B does meanwhile: tell the living from the ended, or let in nobody whose end it may have missed. */
  b: 'decides' | 'is closed'
}

const cutOffB: Act = ({ b }) => b.cutOff('refuse')
const rejoinB: Act = ({ b }) => b.rejoin()
const all = (act: (replica: Replica) => Promise<unknown>) => ({ replicas }: Fleet) => Promise.all(replicas.map(act))
const rejoinAll = all((replica) => replica.rejoin())
const cutOffAll = all((replica) => replica.cutOff('refuse'))
const silenceAll = all((replica) => replica.cutOff('swallow'))

export const withoutRedis: Record<2 | 3, Fault[]> = {
  2: [
    { what: 'nothing', isByHand: true, b: 'decides' },
    { what: 'PostgreSQL resets B', begin: ({ b }) => b.cutOff('reset'), heal: rejoinB, b: 'is closed' },
    { what: 'PostgreSQL is silent for all', begin: silenceAll, heal: rejoinAll, endings: 'in vain', b: 'is closed' }
  ],
  3: [
    { what: 'PostgreSQL is too slow for B', begin: ({ b }) => b.cutOff('delay', 400), heal: rejoinB, isByHand: true, b: 'is closed' },
    { what: 'PostgreSQL is away for all', begin: cutOffAll, heal: rejoinAll, endings: 'in vain', b: 'is closed' }
  ]
}

export const withRedis = (redis: RedisServer): Record<2 | 3, Fault[]> => ({
  2: [
    { what: 'Redis refuses A', begin: ({ a }) => a.redis.set('refuse'), heal: ({ a }) => a.redis.set('pass'), isByHand: true, b: 'decides' },
    { what: 'Redis is silent for B', begin: ({ b }) => b.redis.set('swallow'), heal: ({ b }) => b.redis.set('pass'), isByHand: true, b: 'decides' },
    { what: 'PostgreSQL resets B', begin: ({ b }) => b.cutOff('reset'), heal: rejoinB, b: 'decides' },
    { what: 'PostgreSQL is silent for all', begin: silenceAll, heal: rejoinAll, endings: 'in vain', b: 'decides' },
    { what: 'PostgreSQL comes and goes for A', begin: ({ a }) => a.flicker(), heal: ({ a }) => a.calm(), endings: 'perhaps', b: 'decides' },
    {
      what: 'PostgreSQL refuses B and Redis is silent for it',
      begin: ({ b }) => Promise.all([b.redis.set('swallow'), b.cutOff('refuse')]),
      heal: ({ b }) => Promise.all([b.redis.set('pass'), b.rejoin()]),
      b: 'is closed'
    }
  ],
  3: [
    { what: 'Redis is silent for A', begin: ({ a }) => a.redis.set('swallow'), heal: ({ a }) => a.redis.set('pass'), b: 'decides' },
    { what: 'Redis resets B', begin: ({ b }) => b.redis.set('reset'), heal: ({ b }) => b.redis.set('pass'), isByHand: true, b: 'decides' },
    { what: 'PostgreSQL refuses B', begin: cutOffB, heal: rejoinB, isByHand: true, b: 'decides' },
    {
      what: 'Redis refuses A and PostgreSQL B',
      begin: ({ a, b }) => Promise.all([a.redis.set('refuse'), b.cutOff('refuse')]),
      heal: ({ a, b }) => Promise.all([a.redis.set('pass'), b.rejoin()]),
      isUntold: true,
      b: 'decides'
    },
    { what: 'PostgreSQL refuses B, and Redis forgets all', begin: cutOffB, strike: () => redis.admin.flushall(), heal: rejoinB, b: 'decides' },
    { what: 'PostgreSQL refuses B, and Redis is restarted empty', begin: cutOffB, strike: () => redis.restart(), heal: rejoinB, b: 'decides' },
    { what: 'PostgreSQL is away for all', begin: cutOffAll, heal: rejoinAll, endings: 'in vain', b: 'decides' },
    {
      what: 'PostgreSQL and Redis are away for all',
      begin: (fleet) => Promise.all([redis.kill(), cutOffAll(fleet)]),
      heal: (fleet) => Promise.all([redis.restart(), rejoinAll(fleet)]),
      endings: 'in vain',
      b: 'is closed'
    }
  ]
})

export const withCluster = (cluster: RedisCluster): Record<2 | 3, Fault[]> => ({
  2: [
    { what: 'PostgreSQL refuses B', begin: cutOffB, heal: rejoinB, isByHand: true, b: 'decides' },
    { what: 'PostgreSQL is away for all', begin: cutOffAll, heal: rejoinAll, endings: 'in vain', b: 'decides' }
  ],
  3: [
    {
      what: 'PostgreSQL refuses B, and all masters forget all',
      begin: cutOffB,
      strike: () => Promise.all(cluster.nodes.slice(0, 3).map(({ admin }) => admin.flushall())),
      heal: rejoinB,
      b: 'decides'
    },
    {
      what: 'PostgreSQL refuses B, and the whole cluster is silent',
      begin: (fleet) => {
        for (const { pid } of cluster.nodes) process.kill(pid, 'SIGSTOP')
        return cutOffB(fleet)
      },
      heal: (fleet) => {
        for (const { pid } of cluster.nodes) process.kill(pid, 'SIGCONT')
        return rejoinB(fleet)
      },
      isUntold: true,
      b: 'is closed'
    },
    {
      what: 'PostgreSQL refuses B, and a master dies',
      begin: cutOffB,
      strike: async () => (await cluster.masterOf('{0}')).kill(),
      heal: rejoinB,
      b: 'decides'
    }
  ]
})

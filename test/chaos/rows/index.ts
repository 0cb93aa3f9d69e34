import { rows as stops } from '../stops/index.ts'
import { rows as both } from './both.ts'
import { rows as flood } from './flood/index.ts'
import { rows as away } from './postgresql/away.ts'
import { rows as broken } from './postgresql/broken.ts'
import { rows as failover } from './postgresql/failover.ts'
import { rows as locked } from './postgresql/locked.ts'
import { rows as slow } from './postgresql/slow.ts'
import { rows as redis } from './redis.ts'
import type { Row } from '../row.ts'

/** The fault table. */
export const rows: Row[] = [...away, ...slow, ...broken, ...failover, ...locked, ...redis, ...both, ...flood, ...stops]

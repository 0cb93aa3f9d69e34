import { draining } from './draining.ts'
import { firstProcess } from './first-process.ts'
import { migrations } from './migrations.ts'
import { postgresqlKills } from './postgresql-kills.ts'
import { rollingRestart } from './rolling-restart.ts'
import { secondSignal } from './second-signal.ts'
import { serviceKills } from './service-kills.ts'
import type { Row } from '../row.ts'

export const rows: Row[] = [...rollingRestart, ...draining, secondSignal, firstProcess, migrations, serviceKills, postgresqlKills]

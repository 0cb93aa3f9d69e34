import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// The service as it is, but that SIGCONT, which it does not use, has it collect its garbage: only then does the heap hold what is in use.
setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')
process.on('SIGCONT', () => collect())
await import('../../server.ts')

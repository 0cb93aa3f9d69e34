import { flushCompileCache } from 'node:module'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from '../app.ts'
import { loadConfig } from '../plugins/config/index.ts'

const NOWHERE = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', REDIS_URL: 'redis://127.0.0.1:1', LOG_LEVEL: 'silent' }

// Loads all that a start loads, and what comes with Redis or later, so that NODE_COMPILE_CACHE holds it: the image is made with that, and starts a third sooner.
const folder = mkdtempSync(join(tmpdir(), 'compile-'))
const app = await build(loadConfig(NOWHERE, folder))
await app.openapi()
app.passwords.check('of those that nobody has', { localPart: '', pointer: '' })
await app.close()
rmSync(folder, { recursive: true })      // keys that nobody is to use
flushCompileCache()

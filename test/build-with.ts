import { build } from '../app.ts'
import { loadConfig } from '../plugins/config/index.ts'
import { PATIENT, settings } from './helper.ts'
import { observed } from './observe.ts'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'

/** The real service and a few routes more, which fail as ours should not. */
export async function buildWith (t: Test, addRoutes: (app: FastifyInstance) => void, env: Record<string, string> = {}, stream?: { write: (line: string) => void }) {
  const app = await observed(t, () => build(loadConfig({ ...settings, ...PATIENT, ...env }), { stream }))
  addRoutes(app)
  t.teardown(() => app.close())
  await app.ready()
  await app.health.risen
  return app
}

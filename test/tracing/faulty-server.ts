import { loadConfig } from '../../plugins/config/index.ts'

// The service, traced as server.ts has it traced, and routes that fail as ours should not, with what they were given in the error.
const config = loadConfig(process.env)
const { startTracing } = await import('../../tracing.ts')
const tracing = startTracing({ config, onLoss: () => {} })
const { build } = await import('../../app.ts')
const app = await build(config, { tracing })

app.get('/duplicate', () => app.db.query(`
  insert into users (id, email, email_canonical, password_hash)
  select gen_random_uuid(), email, email_canonical, password_hash from users`))
app.get('/unreadable', ({ headers }) => app.db.query('select $1::uuid', [headers.canary]))
app.get('/unexpected', ({ headers }) => { throw new TypeError('unexpected', { cause: new SyntaxError(String(headers.canary)) }) })
app.get('/refused-by-redis', ({ headers }) => app.fastPath!.run((redis) => redis.zrem(String(headers.canary))))
app.get('/elsewhere', async ({ headers }) => (await fetch(`${headers.canary}`)).status)

await app.ready()
app.log.info(`listening on ${await app.listen({ port: config.PORT })}`)

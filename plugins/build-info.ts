import fp from 'fastify-plugin'

export default fp(async ({ metrics, passwords, release }) => {
  metrics.gauge({ name: 'microts_build_info', help: 'What is running', labelNames: ['version', 'node', 'argon2'] })
    .set({ version: release, node: process.version, argon2: passwords.build }, 1)
}, { name: 'build-info', dependencies: ['config', 'metrics', 'passwords'] })

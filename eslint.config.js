import neostandard from 'neostandard'

const only = (files, group, message) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ group, message }] }] }
})

const plugins = (files, regex) => ({
  files,
  rules: {
    '@typescript-eslint/no-restricted-imports': ['error', {
      patterns: [
        { group: ['**/routes/**'], message: 'Nothing imports routes.' },
        { regex, allowTypeImports: true, message: 'Plugins know each other through `dependencies` and `import type` alone.' }
      ]
    }]
  }
})

export default [
  { ignores: ['.tap/**', 'client/**'] },
  ...neostandard({ ts: true }),
  only(['schemas/**'], ['../*', 'fastify*', '@fastify/*', 'pg', 'ioredis'], 'Schemas are TypeBox and import nothing of ours.'),
  only(['routes/**'], ['**/plugins/**', '**/routes/**', 'pg', 'ioredis'], 'Routes know schemas; everything else is a decorator.'),
  plugins(['plugins/*.ts'], '^\\./(?!errors\\.ts$)|^\\.\\./(?!schemas/)'),
  plugins(['plugins/*/*.ts'], '^\\.\\./(?!errors\\.ts$|\\.\\./(schemas/|package\\.json$))'),
  // The settings are judged by the very code that reads the keys.
  plugins(['plugins/config/*.ts'], '^\\.\\./(?!(errors|auth/key-set)\\.ts$|\\.\\./(schemas/|package\\.json$))'),
  only(['app.ts', 'server.ts', 'deploy/**', 'test/**'], ['**/routes/**'], 'Nothing imports routes.')
]

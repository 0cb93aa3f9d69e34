import { test } from 'tap'
import { withComponents } from '../../../plugins/docs/components.ts'

const answering = (status: number, ...schemas: object[]) =>
  ({ paths: Object.fromEntries(schemas.map((schema, i) => [`/${i}`, { get: { responses: { [status]: { description: 'Told', content: { 'application/json': { schema } } } } } }])) })

test('what has a title is said once, by its name', async (t) => {
  const user = { type: 'object', title: 'User', properties: { title: { type: 'string' } } }
  const users = { type: 'object', properties: { users: { type: 'array', items: user } } }
  const { paths, components } = withComponents(answering(200, user, users))
  t.same(components.schemas, { User: user })
  t.same(paths['/0'].get.responses[200].content['application/json'].schema, { $ref: '#/components/schemas/User' })
  t.same(paths['/1'].get.responses[200].content['application/json'].schema.properties.users.items, { $ref: '#/components/schemas/User' })
})

test('a failure that several operations share is said once', async (t) => {
  const { paths, components } = withComponents(answering(404, { type: 'string' }, { type: 'number' }, { type: 'string' }))
  t.match(components.responses, { NotFound: { description: 'Told' } })
  t.same(paths['/0'].get.responses[404], { $ref: '#/components/responses/NotFound' })
  t.match(paths['/1'].get.responses[404], { description: 'Told' })
})

test('two things of one name are a mistake that is told at the start', async (t) => {
  t.throws(() => withComponents(answering(200, { type: 'object', title: 'User' }, { type: 'object', title: 'User', minProperties: 1 })), { message: 'OpenAPI: two different schemas are named User' })
})

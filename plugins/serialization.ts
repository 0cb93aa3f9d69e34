import { SerializerSelector, type RouteDefinition } from '@fastify/fast-json-stringify-compiler'
import fp from 'fastify-plugin'

type Route = RouteDefinition & { contentType?: string }

/**
 * Serialisers as Fastify makes them, but one for all routes with the same schema, and none for problem documents, which leave as
 * bytes: to compile some hundred that nobody calls would be most of the time that a start takes.
 */
export default fp(async (app) => {
  let compile: ReturnType<ReturnType<typeof SerializerSelector>> | undefined
  const compiled = new Map<unknown, ReturnType<NonNullable<typeof compile>>>()

  app.setSerializerCompiler((route) => {
    const definition = route as Route
    if (definition.contentType === 'application/problem+json') return JSON.stringify
    compile ??= SerializerSelector()(app.getSchemas(), {})
    const serialize = compiled.get(definition.schema) ?? compile(definition)
    compiled.set(definition.schema, serialize)
    return serialize
  })
}, { name: 'serialization' })

import { resolve, type Json } from './contract.ts'

type Direction = 'request' | 'response'

const LIMITS = ['maxLength', 'maximum', 'maxItems'] as const
const FLOORS = ['minLength', 'minimum', 'minItems'] as const
const FORMS = ['pattern', 'format'] as const
const VERBS = ['get', 'post', 'put', 'patch', 'delete']

/** What of a new OpenAPI document breaks clients that were made from the old one, a sentence each. */
export function breakingChanges (old: Json, now: Json): string[] {
  return operationsOf(old).flatMap(({ path, verb, operation }) => {
    const where = `${verb.toUpperCase()} ${path}`
    const successor = now.paths[path]?.[verb]
    if (!successor) return [`${where} is gone`]
    return [
      ...(successor.operationId === operation.operationId ? [] : [`${where} is now called ${successor.operationId}`]),
      ...(isGuarded(successor) && !isGuarded(operation) ? [`${where} wants a token now`] : []),
      ...inParameters(where, operation.parameters ?? [], successor.parameters ?? []),
      ...inContents(`${where} body`, operation.requestBody?.content, successor.requestBody?.content, 'request'),
      ...(successor.requestBody?.required && !operation.requestBody ? [`${where} wants a body now`] : []),
      ...inResponses(where, operation.responses, successor.responses)
    ]
  })

  function inParameters (where: string, before: Json[], after: Json[]) {
    const named = (list: Json[], { name, in: place }: Json) => list.find((parameter) => parameter.name === name && parameter.in === place)
    const changes = before.flatMap((parameter) => {
      const successor = named(after, parameter)
      const what = `${where} ${parameter.in} parameter ${parameter.name}`
      return successor ? inSchema(what, parameter.schema, successor.schema, 'request') : [`${what} is gone`]
    })
    const demands = after.filter((parameter) => parameter.required && !named(before, parameter)?.required)
    return [...changes, ...demands.map(({ in: place, name }) => `${where} ${place} parameter ${name} is required now`)]
  }

  function inResponses (where: string, before: Json, after: Json) {
    const changes = Object.entries<Json>(before).flatMap(([status, part]) => {
      if (!after[status]) return [`${where} ${status} is gone`]
      const [response, successor] = [resolve(old, part), resolve(now, after[status])]
      const headers = Object.keys(response.headers ?? {}).filter((name) => !successor.headers?.[name])
      return [...headers.map((name) => `${where} ${status} header ${name} is gone`), ...inContents(`${where} ${status}`, response.content, successor.content, 'response')]
    })
    const successes = Object.keys(after).filter((status) => status < '400' && !before[status])
    return [...changes, ...successes.map((status) => `${where} ${status} is new, and no failure`)]
  }

  function inContents (where: string, before: Json = {}, after: Json = {}, direction: Direction) {
    return Object.entries<Json>(before).flatMap(([type, { schema }]) =>
      after[type] ? inSchema(where, schema, after[type].schema, direction) : [`${where} is no ${type} any more`])
  }

  function inSchema (where: string, from: Json, to: Json, direction: Direction): string[] {
    const [before, after] = [resolve(old, from), resolve(now, to)]
    return [
      ...inValues(where, before, after, direction),
      ...inRequired(where, before, after, direction),
      ...inProperties(where, before, after, direction),
      ...(before.items && after.items ? inSchema(`${where}/*`, before.items, after.items, direction) : [])
    ]
  }

  function inProperties (where: string, before: Json, after: Json, direction: Direction) {
    return Object.entries<Json>(before.properties ?? {}).flatMap(([name, schema]) =>
      after.properties?.[name] ? inSchema(`${where}/${name}`, schema, after.properties[name], direction) : [`${where}/${name} is gone`])
  }
}

/** Whoever reads must understand all that may be written: the server a request, the client an answer. */
function inValues (where: string, before: Json, after: Json, direction: Direction) {
  const [written, read, happened] = direction === 'request' ? [before, after, 'is not taken any more'] : [after, before, 'is new']
  const types = [written.type ?? []].flat().filter((type) => ![read.type].flat().includes(type))
  const values = valuesOf(read) ? valuesOf(written)?.filter((value) => !valuesOf(read)!.includes(value)) ?? ['any value'] : []
  const changes = [...types, ...values.map((value) => JSON.stringify(value))].map((what) => `${where}: ${what} ${happened}`)
  const isNarrower = direction === 'request' && [
    ...LIMITS.filter((key) => (after[key] ?? Infinity) < (before[key] ?? Infinity)),
    ...FLOORS.filter((key) => (after[key] ?? -Infinity) > (before[key] ?? -Infinity)),
    ...FORMS.filter((key) => after[key] !== undefined && after[key] !== before[key])
  ]
  return [...changes, ...(isNarrower || []).map((key) => `${where}: ${key} takes less`)]
}

function inRequired (where: string, before: Json, after: Json, direction: Direction) {
  const [wanted, given] = direction === 'request' ? [after, before] : [before, after]
  const missing = (wanted.required ?? []).filter((name: string) => !given.required?.includes(name) && (direction === 'request' || after.properties?.[name]))
  return missing.map((name: string) => direction === 'request' ? `${where}/${name} is required now` : `${where}/${name} may be missing now`)
}

const valuesOf = (schema: Json): unknown[] | undefined => schema.enum ?? (schema.const === undefined ? undefined : [schema.const])

const isGuarded = ({ security = [] }: Json) => security.length > 0

const operationsOf = ({ paths }: Json) => Object.entries<Json>(paths).flatMap(([path, item]) =>
  VERBS.filter((verb) => item[verb]).map((verb) => ({ path, verb, operation: item[verb] })))

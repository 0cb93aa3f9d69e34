import { isDeepStrictEqual } from 'node:util'

// As in `methods`.
const { STATUS_CODES } = process.getBuiltinModule('http')

type Json = { [key: string]: any }

/** Moves what is named, or said more than once, to the components of an OpenAPI document, so that generators name it and people read it once. */
export function withComponents (document: Json): Json {
  const components: Json = { ...document.components, schemas: { ...document.components?.schemas }, examples: {}, responses: {} }
  const paths = nameSchemas(nameExamples(document.paths))
  return { ...document, components, paths: nameResponses(paths) }

  /** Every object schema with a title becomes a component of that name. */
  function nameSchemas (value: any): any {
    const inner = mapped(value, nameSchemas)
    if (inner?.type !== 'object' || typeof inner.title !== 'string') return inner
    return component('schemas', inner.title, inner)
  }

  function nameExamples (value: any): any {
    if (!value?.examples || Array.isArray(value.examples)) return mapped(value, nameExamples)
    const named = Object.entries<Json>(value.examples).map(([name, example]) => [name, component('examples', `${name}_${example.value.status}`, example)])
    return { ...value, examples: Object.fromEntries(named) }
  }

  /** Of the failures with one status, that which most operations share. */
  function nameResponses (paths: Json): Json {
    const responses = operationsOf(paths).flatMap((operation) => Object.entries<Json>(operation.responses)).filter(([status]) => status >= '400')
    for (const [status, texts] of Object.entries(Object.groupBy(responses, ([status]) => status))) {
      const shared = mostFrequent(texts!.map(([, response]) => JSON.stringify(response)))
      if (shared) component('responses', STATUS_CODES[status]!.replaceAll(/\W/g, ''), JSON.parse(shared))
    }
    return mapped(paths, (item: Json) => mapped(item, (operation: Json) => ({
      ...operation, responses: mapped(operation.responses, (response: Json) => reference('responses', response) ?? response)
    })))
  }

  function component (kind: string, name: string, value: Json) {
    components[kind][name] ??= value
    if (!isDeepStrictEqual(components[kind][name], value)) throw new Error(`OpenAPI: two different ${kind} are named ${name}`)
    return { $ref: `#/components/${kind}/${name}` }
  }

  function reference (kind: string, value: Json) {
    const name = Object.keys(components[kind]).find((name) => isDeepStrictEqual(components[kind][name], value))
    return name && { $ref: `#/components/${kind}/${name}` }
  }
}

const operationsOf = (paths: Json) => Object.values<Json>(paths).flatMap((item) => Object.values<Json>(item))

function mostFrequent (texts: string[]) {
  const [[text, { length }]] = Object.entries(Object.groupBy(texts, (text) => text)).sort(([, a], [, b]) => b!.length - a!.length) as [[string, string[]]]
  return length > 1 ? text : undefined
}

function mapped (value: any, map: (part: any) => any): any {
  if (Array.isArray(value)) return value.map(map)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, map(part)]))
}

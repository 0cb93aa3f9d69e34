import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { judgeOf } from './judge.ts'
import { operationsOf, requestsOf } from './requests.ts'
import type { Json } from '../contract.ts'

/** The committed document, in contrast to the one that is served: what clients were promised. */
const document: Json = JSON.parse(readFileSync(join(import.meta.dirname, '../../deploy/openapi.json'), 'utf8'))

export const operations = operationsOf(document)
export const requests = requestsOf(document)
export const judge = judgeOf(document)

import { filled, namesIn, type Request } from './bytes.ts'
import { createClient, plain, type Client } from './client.ts'
import { judge, operations, requests } from './document.ts'
import { Complaint, holds, type Plan, type Service } from './holds.ts'
import { createPersona } from './persona.ts'
import type { Answer } from './connection.ts'
import type { Operation } from './requests.ts'
import type { Test } from 'tap'

const HEALTH = plain('GET', '/health')
const health = operations.find(({ path }) => path === HEALTH.target)!
const NOBODY = { valid: [], revoked: [], operator: [] }

/** Requests for every operation of the document, each sent by somebody new. */
export async function fuzzOperations (t: Test, service: Service, { runs, seconds, ...plan }: Plan, onProgress = (_: string) => {}) {
  const total = operations.reduce((sum, target) => sum + weightOf(target), 0)
  for (const target of operations) {
    const part = weightOf(target) / total
    const name = target.operation.operationId
    const statuses: string[] = []
    const check = async (request: Request) => { statuses.push(await probe(service, request, target)) }
    if (!await holds(t, name, requests(target), check, { ...plan, runs: Math.ceil(runs * part), seconds: seconds * part })) continue
    t.ok(plan.only ?? statuses.some((status) => status < '3'), `${name} also succeeds: ${summary(statuses)}`)
    onProgress(`${name}: ${summary(statuses)}`)
  }
}

// There is more to get wrong in a body.
const weightOf = ({ operation }: Operation) => operation.requestBody ? 6 : 1

/** The status of the answer. Throws what is wrong with it, or with the service afterwards. */
export async function probe (service: Service, template: Request, target: Operation) {
  const client = createClient(await service.address())
  const persona = createPersona(client)
  const sent: { request: Request, answer?: Answer } = { request: template }
  try {
    await persona.provide(namesIn(template))
    sent.request = filled(template, persona.values)
    sent.answer = await client.send(sent.request)
    const complaint = judge.complaint(sent.request, target, sent.answer, persona.tokens()) ?? await illness(client, service)
    if (complaint) throw new Error(complaint)
    return String(sent.answer?.status ?? 'none')
  } catch (error) {
    throw new Complaint((error as Error).message, sent.request, sent.answer)
  } finally {
    client.close()
  }
}

/** What is wrong with the service as a whole. */
export async function illness (client: Client, service: Service) {
  const complaint = judge.complaint(HEALTH, health, await client.send(HEALTH), NOBODY) ?? service.complaint?.()
  return complaint && `afterwards: ${complaint}`
}

function summary (statuses: string[]) {
  return [...Map.groupBy(statuses.sort(), (status) => status)].map(([status, all]) => `${all.length} × ${status}`).join(', ')
}

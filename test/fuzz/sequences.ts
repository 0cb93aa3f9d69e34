import fc from 'fast-check'
import { ACTIONS, CONDITION_NAMES, type Expect, type Step } from './actions.ts'
import { printed, write, type Request } from './bytes.ts'
import { createClient, plain } from './client.ts'
import { judge, operations, requests } from './document.ts'
import { Complaint, holds, type Plan, type Service } from './holds.ts'
import { illness, probe } from './operations.ts'
import { createWorld } from './world.ts'
import type { Answer } from './connection.ts'
import type { Operation } from './requests.ts'
import type { Test } from 'tap'

type Name = keyof typeof ACTIONS
type Planned = { name: Name, step: Step } | { name: 'stray', request: Request, target: Operation }

const LONGEST = 40
const NAME = 'sequences'

const step: fc.Arbitrary<Planned> = fc.record({
  name: fc.oneof({ weight: 1, arbitrary: fc.constantFrom<Name>('register', 'logIn', 'refresh') }, { weight: 1, arbitrary: fc.constantFrom(...Object.keys(ACTIONS) as Name[]) }),
  step: fc.record<Step>({
    who: fc.constantFrom(0, 0, 0, 1, 2),
    session: fc.nat(30),
    other: fc.nat(30),
    isRight: fc.constantFrom(true, true, false),
    age: fc.nat(2),
    name: fc.constantFrom('Ada', ' Ada\u{1f600} ', "'; drop table users; --", '%s{{', null),
    condition: fc.constantFrom(...CONDITION_NAMES)
  })
})
const stray: fc.Arbitrary<Planned> = fc.constantFrom(...operations).chain((target) => fc.record({ name: fc.constant('stray' as const), request: requests(target), target: fc.constant(target) }))
const sequence = fc.array(fc.oneof({ weight: 6, arbitrary: step }, { weight: 1, arbitrary: stray }), { minLength: 1, maxLength: LONGEST, size: 'max' })

/** What up to three users do one after another, with a stranger's requests in between: after each step all is as it should be. */
export async function fuzzSequences (t: Test, service: Service, plan: Plan) {
  return holds(t, NAME, sequence, (steps) => live(service, steps), plan)
}

async function live (service: Service, steps: Planned[]) {
  const client = createClient(await service.address())
  const world = createWorld()
  let last: { request?: Request, answer?: Answer } = {}
  try {
    for (const planned of steps) {
      if (planned.name === 'stray') await probe(service, planned.request, planned.target)
      else await ACTIONS[planned.name](world, planned.step, expect)
    }
    const complaint = await illness(client, service)
    if (complaint) throw new Error(complaint)
  } catch (error) {
    const complaint = error instanceof Complaint ? error : new Complaint((error as Error).message, last.request, last.answer)
    complaint.details = { steps: steps.map(told).join('\n'), ...complaint.details }
    throw complaint
  } finally {
    client.close()
  }

  async function expect (...[status, method, target, ...rest]: Parameters<Expect>) {
    const request = plain(method, target, ...rest)
    last = { request }
    const answer = await client.send(request)
    last = { request, answer }
    if (answer?.status !== status) throw new Error(`${answer?.status ?? 'none'}, not ${status}`)
    const violation = judge.violation({ ...answer, method, path: target.replace(/\?.*/, '').replace(/(?<=sessions\/).+/, '{id}') })
    if (violation) throw new Error(violation)
    return answer
  }
}

const told = (planned: Planned) => planned.name === 'stray' ? `stray ${printed(write(planned.request))}` : `${planned.name} ${JSON.stringify(planned.step)}`

import { Ajv } from 'ajv'
import { ProblemSchema } from '../schemas/common.ts'
import type { Test } from 'tap'

type Answer = { statusCode: number, headers: Record<string, unknown>, body: string }

const isOfForm = new Ajv({ strict: false }).compile(ProblemSchema)
const ID = /^[\w.-]{1,128}$/

/** That this is a refusal as all of ours are: a problem document whose status is the answer's, with the headers every answer has. */
export function isProblem (t: Test, { statusCode, headers, body }: Answer, status: number, code: string, what = `${status} ${code}`) {
  const problem = parsed(body)
  const isDocumented = isOfForm(problem)
  t.hasStrict({ statusCode, headers, problem, isDocumented }, {
    statusCode: status,
    headers: {
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none';frame-ancestors 'none'",
      'strict-transport-security': 'max-age=63072000; includeSubDomains',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'content-type': 'application/problem+json',
      'x-request-id': problem.requestId,
      'x-correlation-id': problem.correlationId
    },
    problem: { status, code, type: `urn:microts:problem:${code}` },
    isDocumented: true
  }, what)
  const form = { title: /^[A-Z][a-z -]+$/, detail: /^[A-Z]/, requestId: ID, correlationId: ID }
  t.match(problem, form, what)
  return problem
}

function parsed (body: string) {
  try {
    return JSON.parse(body)
  } catch {
    return { body }
  }
}

import { randomBytes, randomUUID } from 'node:crypto'
import type { Client } from './client.ts'
import type { Answer } from './connection.ts'

/** The service's OPS_TOKEN. */
export const OPS_TOKEN = randomBytes(48).toString('base64')

const PASSWORD = 'correct-horse-battery-staple'      // the same in JSON and in a form

/** Somebody with an account, and whatever else a request may name; each made when it is first asked for. */
export function createPersona (client: Client) {
  const values = new Map([['operatorToken', OPS_TOKEN]])
  return {
    values,
    provide,
    tokens: () => ({ valid: [values.get('accessToken'), values.get('otherAccessToken')], revoked: [values.get('revokedAccessToken')], operator: [OPS_TOKEN] })
  }

  async function provide (names: string[]) {
    const isWanted = (start: string) => names.some((name) => name.startsWith(start) && !values.has(name))
    if (names.some((name) => !values.has(name)) && !values.has('email')) await signUp()
    if (isWanted('other')) await signUp('other')
    if (isWanted('etag')) values.set('etag', await etag())
    if (isWanted('second')) await signIn('second')
    if (isWanted('revoked')) await signIn('revoked').then((pair) => client.ask('POST', '/auth/logout', undefined, pair.accessToken))
  }

  async function signUp (whose = '') {
    const email = `fuzz-${randomUUID()}@example.com`
    set(whose, { email, password: PASSWORD, ...pairOf(await client.ask('POST', '/auth/register', { email, password: PASSWORD })) })
  }

  async function signIn (which: string) {
    return set(which, pairOf(await client.ask('POST', '/auth/login', { email: values.get('email'), password: PASSWORD })))
  }

  async function etag () {
    const { headers } = await client.ask('GET', '/me', undefined, values.get('accessToken'))
    return headers.etag ?? ''
  }

  function set<Known extends Record<string, string>> (whose: string, known: Known) {
    for (const [name, value] of Object.entries(known)) values.set(whose ? `${whose}${name[0]!.toUpperCase()}${name.slice(1)}` : name, value)
    return known
  }
}

function pairOf ({ status, body }: Answer): { accessToken: string, refreshToken: string, sessionId: string } {
  if (status >= 300) throw new Error(`nobody can sign in: ${status} ${body}`)
  const { accessToken, refreshToken } = JSON.parse(body)
  return { accessToken, refreshToken, sessionId: sessionIdOf(accessToken) }
}

/** The session that an access token belongs to. */
export const sessionIdOf = (accessToken: string): string => JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString()).sid

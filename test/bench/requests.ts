import { PASSWORD } from '../helper.ts'
import type { Request } from './generator.ts'
import type { Load } from './pace.ts'

export const post = (path: string, body: object): Request => ({ method: 'POST', path, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

export const login = (email: string) => post('/auth/login', { email, password: PASSWORD })

export const me = (accessToken: string): Request => ({ path: '/me', headers: { authorization: `Bearer ${accessToken}` } })

/** Exchanges the token that waits for longest, and puts its successor last. */
export function exchange (refreshTokens: string[]): Pick<Load, 'next' | 'onAnswer'> {
  return {
    next: () => post('/auth/refresh', { refreshToken: refreshTokens.shift() }),
    onAnswer: (body) => refreshTokens.push(JSON.parse(body).refreshToken)
  }
}
